-- A Wireshark dissector for grupo/1. It shows each line on the wire, with its verb and its fields.
-- A line that TCP cut into segments is shown whole.
--
-- It shows the lines of lab_guide/protocol.md, and only bytes that are on the wire.
-- In Wireshark: put this file into the folder that Help > About > Folders calls "Personal Lua Plugins".
-- In a terminal:
--
--     tshark -X lua_script:lab_guide/wireshark/grupo.lua -i lo -f "tcp port 7000"
--     tshark -X lua_script:lab_guide/wireshark/grupo.lua -r talk.pcapng -Y 'grupo.verb == "MSG" && grupo.name == "ana"'
--
-- It dissects port 7000, and on other ports each connection that begins with the server's HELLO grupo/1.
-- For every other connection, use "Decode As", or -d tcp.port==7001,grupo.

local grupo = Proto("grupo", "Grupo, a group chat")

local MAX_LINE = 512
local HELLO = "HELLO grupo/1 "

-- The fields after each verb. One space separates them; the last one is the rest of the line.
local FORMS = {
    JOIN = {"name", "password"}, SAY = {"text"}, NAME = {"new"}, WHO = {}, HISTORY = {"since"}, LEAVE = {}, QUIT = {},
    PING = {"token"}, PONG = {"token"},
    HELLO = {"version", "group"}, PENDING = {}, WELCOME = {"seq", "name"}, REJECTED = {"code"},
    MSG = {"seq", "time", "name", "text"}, IN = {"seq", "time", "name"}, OUT = {"seq", "time", "name"},
    RENAMED = {"seq", "time", "name", "new"}, LEFT = {"seq", "time", "name"}, BANNED = {"seq", "time", "name"},
    GROUP = {"seq", "time", "group"}, MEMBER = {"name", "standing"}, ["END WHO"] = {}, ["END HISTORY"] = {"seq"},
    ERR = {"code", "words"}, BYE = {"code"},
}
local NUMBERS = {seq = true, since = true}

local fields = {
    line = ProtoField.string("grupo.line", "Line", base.UNICODE, "Without its line ending"),
    verb = ProtoField.string("grupo.verb", "Verb", base.ASCII, "The kind of line: JOIN, SAY, MSG, END HISTORY, ..."),
    name = ProtoField.string("grupo.name", "Name", base.UNICODE, "The member of this event, or the name that asks to join"),
    new = ProtoField.string("grupo.new", "New name", base.UNICODE),
    password = ProtoField.string("grupo.password", "Password (in clear)", base.UNICODE),
    text = ProtoField.string("grupo.text", "Text", base.UNICODE, "The text of a message"),
    seq = ProtoField.uint64("grupo.seq", "Number of the event", base.DEC),
    since = ProtoField.uint64("grupo.since", "Every event after this number", base.DEC),
    time = ProtoField.string("grupo.time", "Time", base.ASCII),
    group = ProtoField.string("grupo.group", "Group", base.UNICODE),
    version = ProtoField.string("grupo.version", "Version", base.ASCII),
    standing = ProtoField.string("grupo.standing", "Standing", base.ASCII, "here or away"),
    token = ProtoField.string("grupo.token", "Token", base.ASCII),
    code = ProtoField.string("grupo.code", "Code", base.ASCII, "The code of ERR, BYE or REJECTED"),
    words = ProtoField.string("grupo.words", "Words", base.UNICODE),
}
for _, field in pairs(fields) do
    table.insert(grupo.fields, field)
end

local too_long = ProtoExpert.new("grupo.too_long", "Line of more than 512 bytes", expert.group.PROTOCOL, expert.severity.WARN)
local unknown = ProtoExpert.new("grupo.unknown", "Not a line of grupo/1", expert.group.PROTOCOL, expert.severity.WARN)
local refused = ProtoExpert.new("grupo.refused", "A request was not done", expert.group.RESPONSE_CODE, expert.severity.NOTE)
grupo.experts = {too_long, unknown, refused}

-- Adds the fields of `line` to `tree`; `range` holds the bytes of the line.
-- Returns whether the line has the form that its verb requires.
local function add_fields(tree, range, line)
    local verb = line:match("^END [^ ]+") or line:match("^[^ ]+") or ""
    local form, at = FORMS[verb], #verb
    if not form then
        return false
    end
    tree:add(fields.verb, range(0, at), verb)
    for number, what in ipairs(form) do
        local last = number == #form
        if line:sub(at + 1, at + 1) ~= " " or at + 1 == #line then
            return false
        end
        local stop = not last and line:find(" ", at + 2, true) or #line + 1
        local value, place = line:sub(at + 2, stop - 1), range(at + 1, stop - at - 2)
        if not NUMBERS[what] then
            tree:add_packet_field(fields[what], place, ENC_UTF_8)
        elseif value:match("^%d+$") and #value <= 16 then
            tree:add(fields[what], place, UInt64.new(tostring(value)))
        else
            return false
        end
        at = stop - 1
    end
    return at == #line
end

-- SHOWN: the characters that may be shown, in UTF-8.
-- HIDDEN: the exceptions. A terminal might obey them, or they change the direction of writing, or they are not UTF-8.
local SHOWN = {"^[ -~]$", "^[\xC2-\xDF][\x80-\xBF]$", "^[\xE0-\xEF][\x80-\xBF][\x80-\xBF]$", "^[\xF0-\xF4][\x80-\xBF][\x80-\xBF][\x80-\xBF]$"}
local HIDDEN = {"^\xC2[\x80-\x9F]", "^\xE2\x80[\xAA-\xAE]", "^\xE2\x81[\xA6-\xA9]",
                "^\xE0[\x80-\x9F]", "^\xED[\xA0-\xBF]", "^\xF0[\x80-\x8F]", "^\xF4[\x90-\xBF]"}       -- this row: not UTF-8

local function is_any(patterns, character)
    for _, pattern in ipairs(patterns) do
        if character:find(pattern) then
            return true
        end
    end
    return false
end

-- Returns the line as the packet list shows it: without the password, and with unsafe bytes as numbers.
-- The numbers are necessary, because no server has checked yet what a client sends.
local function shown(line)
    local text = line:gsub("[^\x80-\xBF]?[\x80-\xBF]*", function(character)
        if character ~= "" and (not is_any(SHOWN, character) or is_any(HIDDEN, character)) then
            return (character:gsub(".", function(byte) return ("\\x%02x"):format(byte:byte()) end))
        end
    end)
    return (text:gsub("^(JOIN %S+) .*", "%1 ***"))
end

local function add_line(tree, range, line, text)
    local item = tree:add(grupo, range, "Grupo: " .. text)
    if line == "" then
        return                              -- the protocol ignores empty lines
    end
    item:add_packet_field(fields.line, range(0, #line), ENC_UTF_8)
    if range:len() > MAX_LINE then
        item:add_proto_expert_info(too_long)
    end
    if not add_fields(item, range, line) then
        item:add_proto_expert_info(unknown)
    elseif line:sub(1, 4) == "ERR " then
        item:add_proto_expert_info(refused)
    end
end

function grupo.dissector(buffer, packet, tree)
    local bytes, start, lines = buffer:raw(), 0, {}
    while start < #bytes do
        local newline = bytes:find("\n", start + 1, true)
        if not newline then                 -- a later segment holds the rest of the line
            packet.desegment_offset, packet.desegment_len = start, DESEGMENT_ONE_MORE_SEGMENT
            break
        end
        local line, range = bytes:sub(start + 1, newline - 1):gsub("\r$", ""), buffer(start, newline - start)
        table.insert(lines, shown(line))
        add_line(tree, range, line, lines[#lines])
        start = newline
    end
    if #lines > 0 then
        packet.cols.protocol = "GRUPO"
        packet.cols.info:clear()            -- only up to the fence: one segment may end a line and hold the next
        packet.cols.info:append(table.concat(lines, " | ") .. " ")
        packet.cols.info:fence()
    end
    return #bytes
end

DissectorTable.get("tcp.port"):add(7000, grupo)
grupo:register_heuristic("tcp", function(buffer, packet, tree)
    if buffer:raw(0, math.min(#HELLO, buffer:len())) ~= HELLO then
        return false
    end
    packet.conversation = grupo
    grupo.dissector(buffer, packet, tree)
    return true
end)
