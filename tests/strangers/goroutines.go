// A server for grupo/1 in Go, with goroutines.
//
// Build:  go build -o goroutines goroutines.go
// Run:    ./goroutines --port 7000 --group os-lab --dir ./grupo --admit ask
//
// The law: one mutex, group.mu, guards all that is shared, and a function that needs it says
// "mu is held" when its caller locks it. No code waits for a client, a password hash or the owner
// while it holds the mutex.
//
// Each connection has two goroutines. Its reader (serve) reads a request, does it under the mutex,
// and only then reads the next: so the requests of one client need no queue. Its writer (write)
// sends what is buffered for the client, as fast as the client reads. To send a line means to add
// it to the buffer, so all members get all events in the order in which the mutex was held.
// A goroutine that has to wait for a change of its client sleeps on the condition client.changed.
//
// No client receives an event before the event is in the transcript. Events and passwords are in
// two files; section "Files" below says how they stay consistent.
package main

import (
	"bufio"
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"math"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
	"unicode"
	"unicode/utf8"
)

// Sizes and counts of section 10, which are no flags.
const (
	maxLine       = 512
	maxName       = 32
	maxText       = 400
	maxGroup      = 64
	maxPassword   = 128
	maxToken      = 64
	maxDigits     = 16
	maxAsking     = 32
	maxRejections = 3
	maxErrors     = 10
)

const (
	tickEvery    = 100 * time.Millisecond
	discardFor   = time.Second             // what a client still sends after its BYE
	endWithin    = 1700 * time.Millisecond // of the 2 s that a server has to end
	retryAfter   = 100 * time.Millisecond  // after a failure that may pass: EIO, EMFILE
	spareFiles   = 8                       // descriptors that no client gets: saving needs them
	rationedRate = 64 << 10                // bytes of events a second, of a client that is rationed
)

// ---------------------------------------------------------------- Main

func main() {
	if err := openStandardFiles(); err != nil {
		os.Exit(1) // there is no descriptor left to say why
	}
	signals := catchSignals()
	settings, err := parseFlags(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return // the help was printed
	}
	if err != nil {
		fail(2, err)
	}
	// Passwords are hashed on processors of their own: otherwise a chat goroutine could wait
	// behind a hash until Go's scheduler interrupts it, which is after 10 ms.
	runtime.GOMAXPROCS(runtime.NumCPU() + settings.hashes)

	listener, err := listen(settings)
	if err != nil {
		fail(1, err)
	}
	store, roster, err := openStore(settings.dir, settings.group)
	if err != nil {
		fail(1, err)
	}
	g := newGroup(settings, store, roster)
	if _, err := fmt.Printf("listening on %s\n", listener.Addr()); err != nil {
		fail(1, err)
	}
	go g.owner.print()
	go g.readOrders()
	go g.watchClock()
	go g.accept(listener)
	go func() {
		<-signals
		g.mu.Lock()
		defer g.mu.Unlock()
		g.close("closed")
	}()

	<-g.closed
	listener.Close()
	g.lingerUntil(time.Now().Add(endWithin))
}

func fail(status int, err error) {
	fmt.Fprintf(os.Stderr, "%s: %v\n", filepath.Base(os.Args[0]), err)
	os.Exit(status)
}

// openStandardFiles opens /dev/null for each of the descriptors 0, 1 and 2 that is closed.
// Otherwise the next file or socket would get its number, and would be taken for the owner.
func openStandardFiles() error {
	for fd := 0; fd <= 2; fd++ {
		var stat syscall.Stat_t
		if syscall.Fstat(fd, &stat) != syscall.EBADF {
			continue
		}
		if _, err := syscall.Open("/dev/null", syscall.O_RDWR, 0); err != nil {
			return err
		}
	}
	return nil
}

// catchSignals returns the channel of the signals that end the server, and ignores those that
// would end or stop it for no good reason: section 12, "runtime traps".
func catchSignals() <-chan os.Signal {
	signal.Ignore(syscall.SIGPIPE, syscall.SIGXFSZ, syscall.SIGTTIN, syscall.SIGTTOU)
	ending := []os.Signal{syscall.SIGTERM, syscall.SIGINT}
	if !signal.Ignored(syscall.SIGHUP) { // nohup asked for that; Notify would undo it
		ending = append(ending, syscall.SIGHUP)
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, ending...)
	return signals
}

// ---------------------------------------------------------------- The command line

type settings struct {
	host  string
	port  int
	group string
	dir   string
	admit string // ask, all or none

	joinWithin, pingAfter, idleAfter, slowAfter, rejectAfter time.Duration

	outboxLimit, sndbuf, hashes, maxHere, maxStrangers int
}

func parseFlags(arguments []string) (settings, error) {
	s := settings{
		port:         7000,
		joinWithin:   20 * time.Second,
		pingAfter:    60 * time.Second,
		idleAfter:    90 * time.Second,
		slowAfter:    10 * time.Second,
		rejectAfter:  time.Second,
		outboxLimit:  1 << 20,
		sndbuf:       65536,
		hashes:       defaultHashes(),
		maxHere:      1024,
		maxStrangers: 256,
	}
	flags := flag.NewFlagSet("goroutines", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // a mistake is told in one line, by main
	flags.StringVar(&s.host, "host", "127.0.0.1", "the address to listen on")
	flags.Func("port", "the port to listen on; 0 takes a free one (default 7000)",
		numberVar(&s.port, 0, 65535))
	flags.StringVar(&s.group, "group", "grupo", "the name of a new group")
	flags.StringVar(&s.dir, "dir", "./grupo", "where the group's files are kept")
	flags.StringVar(&s.admit, "admit", "ask", "who may join: ask, all or none")
	for name, place := range map[string]*time.Duration{
		"join-within":  &s.joinWithin,
		"ping-after":   &s.pingAfter,
		"idle-after":   &s.idleAfter,
		"slow-after":   &s.slowAfter,
		"reject-after": &s.rejectAfter,
	} {
		flags.Func(name, fmt.Sprintf("seconds; section 10 (default %v)", *place), secondsVar(place))
	}
	for name, place := range map[string]*int{
		"outbox":        &s.outboxLimit,
		"sndbuf":        &s.sndbuf,
		"hashes":        &s.hashes,
		"max-here":      &s.maxHere,
		"max-strangers": &s.maxStrangers,
	} {
		flags.Func(name, fmt.Sprintf("number; section 10 (default %d)", *place),
			numberVar(place, 1, math.MaxInt32))
	}

	switch err := flags.Parse(arguments); {
	case errors.Is(err, flag.ErrHelp):
		flags.SetOutput(os.Stdout)
		flags.PrintDefaults()
		return s, err
	case err != nil:
		return s, err
	case flags.NArg() > 0:
		return s, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	case s.host == "": // net.Listen would listen on all addresses
		return s, errors.New("--host is empty")
	case !isGroup(s.group):
		return s, fmt.Errorf("%q is not a name for a group", s.group)
	case s.admit != "ask" && s.admit != "all" && s.admit != "none":
		return s, fmt.Errorf("--admit is ask, all or none, not %q", s.admit)
	}
	if s.slowAfter < tickEvery {
		s.slowAfter = tickEvery // a client's writer needs a moment to try
	}
	return s, nil
}

func defaultHashes() int {
	switch cores := runtime.NumCPU(); {
	case cores <= 2:
		return 1
	default:
		return 2
	}
}

func numberVar(place *int, from, to int) func(string) error {
	return func(text string) error {
		value, err := strconv.Atoi(text)
		if err != nil || value < from || value > to {
			return fmt.Errorf("a whole number from %d to %d is needed", from, to)
		}
		*place = value
		return nil
	}
}

func secondsVar(place *time.Duration) func(string) error {
	const century = 100 * 365 * 24 * 3600 // more would not fit in a time.Duration
	return func(text string) error {
		value, err := strconv.ParseFloat(text, 64)
		if err != nil || !(value >= 0 && value <= century) { // nan is not >= 0
			return errors.New("a number of seconds, 0 or more, is needed")
		}
		*place = time.Duration(value * float64(time.Second))
		return nil
	}
}

func listen(s settings) (*net.TCPListener, error) {
	ip, err := net.ResolveIPAddr("ip", s.host)
	if err != nil {
		return nil, err
	}
	if ip.IP == nil {
		return nil, fmt.Errorf("there is no host %q", s.host)
	}
	network := "tcp6"
	if ip.IP.To4() != nil { // with "tcp", 0.0.0.0 would listen on IPv6, too
		network = "tcp4"
	}
	listener, err := net.ListenTCP(network, &net.TCPAddr{IP: ip.IP, Port: s.port, Zone: ip.Zone})
	if err == nil && !ip.IP.IsLoopback() {
		fmt.Fprintln(os.Stderr, "warning: passwords travel in clear; others on the network can read them")
	}
	return listener, err
}

// ---------------------------------------------------------------- The grammar

// isText reports whether all characters are text-char of section 3: RFC 9839's Unicode Assignables
// without controls, and without what changes the direction of writing.
func isText(line string) bool {
	for _, r := range line {
		switch {
		case r < 0x20, 0x7F <= r && r < 0xA0:
			return false
		case 0x202A <= r && r <= 0x202E, 0x2066 <= r && r <= 0x2069:
			return false
		case 0xFDD0 <= r && r <= 0xFDEF, r&0xFFFE == 0xFFFE: // noncharacters
			return false
		}
	}
	return true
}

// isName reports whether this server accepts the name. It accepts the names that every server
// accepts, and no others: Go's standard library cannot normalize Unicode.
func isName(name string) bool {
	if len(name) == 0 || len(name) > maxName || strings.IndexByte("._-", name[0]) >= 0 {
		return false
	}
	for i := 0; i < len(name); i++ {
		switch b := name[i]; {
		case 'a' <= b && b <= 'z', 'A' <= b && b <= 'Z', '0' <= b && b <= '9':
		case b == '.', b == '_', b == '-':
		default:
			return false
		}
	}
	return true
}

// fold returns what two spellings of one name have in common: the key of all tables of names.
func fold(name string) string { return strings.ToLower(name) }

func isGroup(group string) bool {
	return 0 < len(group) && len(group) <= maxGroup && utf8.ValidString(group) && isText(group) &&
		group[0] != ' ' && group[len(group)-1] != ' '
}

func isToken(token string) bool {
	for i := 0; i < len(token); i++ {
		if token[i] <= ' ' || token[i] > '~' {
			return false
		}
	}
	return 0 < len(token) && len(token) <= maxToken
}

// parseSince reads the number in HISTORY. It does not use strconv alone, which takes "+1" as well.
func parseSince(digits string) (since int64, ok bool) {
	if len(digits) == 0 || len(digits) > maxDigits || strings.Trim(digits, "0123456789") != "" {
		return 0, false
	}
	since, err := strconv.ParseInt(digits, 10, 64)
	return since, err == nil
}

// cutEnd drops the LF of a line, and a CR right before it.
func cutEnd(line []byte) []byte {
	return bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r"))
}

// ---------------------------------------------------------------- The group

type group struct {
	settings
	owner     *console
	hashing   chan struct{} // holds an element for each password that is being checked
	closed    chan struct{} // closed when the server begins to end
	lastToken int

	mu        sync.Mutex // guards everything below, and the clients
	store     *store
	name      string
	members   map[string]*member // by folded name, like the next three
	banned    map[string]string  // the spelling of each banned name
	asking    map[string]*client // whom the owner considers; see client.newcomer
	joining   map[string]*client // whose new name is held while the password is checked
	clients   map[*client]bool   // all connections that are not closed yet
	strangers map[*client]bool   // those before WELCOME
	here      map[*client]bool   // those of members
	owedOuts  []string           // members that went while the transcript could not be written
	gate      gate
	consent   bool // the owner's next line is the consent to delete
	ending    bool
}

// A member is a name with a password. It is away if it has no client.
type member struct {
	Name   string
	Salt   []byte
	Hash   []byte
	Rounds int

	client *client
}

func newGroup(s settings, store *store, r *roster) *group {
	return &group{
		settings:  s,
		owner:     newConsole(),
		hashing:   make(chan struct{}, s.hashes),
		closed:    make(chan struct{}),
		store:     store,
		name:      r.group,
		members:   r.members,
		banned:    r.banned,
		asking:    map[string]*client{},
		joining:   map[string]*client{},
		clients:   map[*client]bool{},
		strangers: map[*client]bool{},
		here:      map[*client]bool{},
	}
}

// record writes an event to the transcript and returns it. The caller changes the group
// accordingly, and then announces the event. mu is held.
func (g *group) record(verb, rest string) (event, error) {
	if err := g.payOuts(); err != nil {
		return event{}, err
	}
	return g.store.append(verb, rest)
}

// announce sends an event to all members who are here, and shows it to the owner. mu is held.
func (g *group) announce(e event) {
	for c := range g.here {
		c.send(e.line)
		if len(c.buffer) > g.outboxLimit/2 {
			g.watch(c, time.Now())
		}
	}
	g.owner.show(e.note())
}

// payOuts writes and announces the OUT events that are still to be written. No request caused
// them, so none can be refused; other events have to come after them. mu is held.
func (g *group) payOuts() error {
	for len(g.owedOuts) > 0 {
		e, err := g.store.append("OUT", g.owedOuts[0])
		if err != nil {
			return err
		}
		g.owedOuts = g.owedOuts[1:]
		g.announce(e)
	}
	return nil
}

// isHeld reports whether a name belongs to a member, a ban or a request. mu is held.
func (g *group) isHeld(key string) bool {
	_, isBanned := g.banned[key]
	return isBanned || g.members[key] != nil || g.asking[key] != nil || g.joining[key] != nil
}

// end sends BYE and ends the conversation: from now on the member is away, and nothing more that
// the client sent is handled. The client's goroutines then close the connection. mu is held.
func (g *group) end(c *client, code string) {
	if c.state == over {
		return
	}
	c.send("BYE " + code + "\n")
	g.detach(c)
	if m := c.member; m != nil && m.client == c {
		m.client = nil
		if !g.ending { // a restart finds nobody here anyway
			g.owedOuts = append(g.owedOuts, m.Name)
			g.payOuts() // on failure they stay owed, and watchClock tries again
		}
	}
}

// detach takes a client out of all tables but clients, and wakes its goroutines. mu is held.
func (g *group) detach(c *client) {
	c.state = over
	c.endedAt = time.Now()
	if c.newcomer != nil && g.asking[fold(c.newcomer.Name)] == c {
		delete(g.asking, fold(c.newcomer.Name))
	}
	delete(g.strangers, c)
	delete(g.here, c)
	g.setCrowding(c, false)
	close(c.ended)
	c.changed.Broadcast()
	c.conn.SetReadDeadline(time.Unix(1, 0)) // the reader may be waiting for the next request
}

// drop ends a client that is too slow for a BYE: its buffer is full. mu is held.
func (g *group) drop(c *client) {
	c.conn.Close()
	g.end(c, "slow")
}

// close ends the conversation of all, and then the server. mu is held.
func (g *group) close(code string) {
	if g.ending {
		return
	}
	g.ending = true
	for c := range g.clients {
		g.end(c, code)
	}
	close(g.closed)
}

// lingerUntil returns when all clients and the owner have received their last line, or have had
// the time for it: a process that exits sooner takes unsent bytes with it.
func (g *group) lingerUntil(deadline time.Time) {
	for time.Now().Before(deadline) {
		g.mu.Lock()
		left := len(g.clients)
		g.mu.Unlock()
		if left == 0 && g.owner.hasReadAll() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// ---------------------------------------------------------------- Requests

// A verb says who may use it and what it does. run gets what follows the verb, with its space, and
// returns the code of an ERR, or "". mu is held, but join and history release it meanwhile.
type verb struct {
	members bool // only a member who is here may use it
	run     func(g *group, c *client, rest string) (code string)
}

// Go forbids a table of functions that refer to the table; init breaks the circle.
var verbs map[string]verb

func init() {
	verbs = map[string]verb{
		"JOIN":    {run: (*group).join},
		"SAY":     {run: (*group).say, members: true},
		"NAME":    {run: (*group).rename, members: true},
		"WHO":     {run: (*group).who, members: true},
		"HISTORY": {run: (*group).history, members: true},
		"LEAVE":   {run: (*group).leave, members: true},
		"QUIT":    {run: (*group).quit},
		"PING":    {run: (*group).ping},
		"PONG":    {run: (*group).pong},
	}
}

var errorWords = map[string]string{
	"too-long":       "a line has at most 512 bytes",
	"bad-utf8":       "the line is not UTF-8",
	"bad-text":       "a character of this line is not allowed",
	"unknown":        "there is no such verb",
	"not-joined":     "only a member who is here may do that",
	"already-joined": "you have joined, or asked to join",
	"bad-arguments":  "a field is missing, empty, too long, or one too many",
	"bad-name":       "a name has 1 to 32 letters, digits, dots, underscores or hyphens",
	"name-taken":     "that name is taken",
	"not-saved":      "the server could not save that; nothing happened",
}

// do handles one line of a client, as far as it came, and answers it. mu is held.
func (g *group) do(c *client, line []byte, tooLong bool) {
	c.quietSince, c.wasPinged = time.Now(), false
	c.isBusy = true
	code := "too-long"
	if !tooLong {
		code = g.request(c, line)
	}
	c.isBusy = false
	if c.state == over {
		return
	}
	if code != "" {
		c.answer("ERR " + code + " " + errorWords[code] + "\n")
		if c.state != here {
			c.errors++
		}
		if tooLong || c.state != here && c.errors == maxErrors {
			g.end(c, "protocol")
		}
	}
	c.answerEnd = c.queued
}

// request finds the first ERR code that applies, in the order of section 7. mu is held.
func (g *group) request(c *client, line []byte) (code string) {
	text := string(line)
	if !utf8.ValidString(text) {
		return "bad-utf8"
	}
	if !isText(text) {
		return "bad-text"
	}
	word, _, _ := strings.Cut(text, " ")
	verb, exists := verbs[word]
	switch {
	case !exists:
		return "unknown"
	case verb.members && c.state != here:
		return "not-joined"
	case word == "JOIN" && c.state != stranger:
		return "already-joined"
	}
	return verb.run(g, c, text[len(word):])
}

func (g *group) say(c *client, rest string) string {
	text := strings.TrimPrefix(rest, " ")
	if text == "" || len(text) > maxText {
		return "bad-arguments"
	}
	e, err := g.record("MSG", c.member.Name+" "+text)
	if err != nil {
		return "not-saved"
	}
	g.announce(e)
	g.ration(c, len(e.line))
	return ""
}

func (g *group) rename(c *client, rest string) string {
	m, name := c.member, strings.TrimPrefix(rest, " ")
	from, to := fold(m.Name), fold(name)
	switch {
	case name == "" || strings.Contains(name, " "):
		return "bad-arguments"
	case !isName(name):
		return "bad-name"
	case from != to && g.isHeld(to):
		return "name-taken"
	}
	e, err := g.record("RENAMED", m.Name+" "+name)
	if err != nil {
		return "not-saved"
	}
	delete(g.members, from)
	g.members[to] = m
	m.Name = name
	g.announce(e)
	g.ration(c, len(e.line))
	return ""
}

func (g *group) who(c *client, rest string) string {
	if rest != "" {
		return "bad-arguments"
	}
	var list strings.Builder
	for _, m := range g.members {
		fmt.Fprintf(&list, "MEMBER %s %s\n", m.Name, m.presence())
	}
	c.answer(list.String() + "END WHO\n")
	return ""
}

func (m *member) presence() string {
	if m.client != nil {
		return "here"
	}
	return "away"
}

// history sends old events in steps, the next one when the client has nearly read the last. So it
// needs little memory, and live events take their place between two steps.
func (g *group) history(c *client, rest string) string {
	since, ok := parseSince(strings.TrimPrefix(rest, " "))
	if !ok {
		return "bad-arguments"
	}
	newest, step := g.store.newest(), g.outboxLimit/16
	for from := since; from < newest; {
		c.ownEnd = math.MaxInt64 // all that is buffered comes before the end of this answer
		for len(c.buffer) > step && c.state != over {
			c.changed.Wait()
		}
		if c.state == over {
			return ""
		}
		section, last := g.store.section(from, newest, step)
		g.mu.Unlock()
		lines, err := io.ReadAll(section)
		g.mu.Lock()
		if err != nil { // there is no ERR for this; without an answer the client would wait forever
			g.drop(c)
			return ""
		}
		c.answer(string(lines))
		from = last
	}
	c.answer(fmt.Sprintf("END HISTORY %d\n", newest))
	return ""
}

func (g *group) leave(c *client, rest string) string {
	if rest != "" {
		return "bad-arguments"
	}
	m := c.member
	e, err := g.record("LEFT", m.Name)
	if err != nil {
		return "not-saved"
	}
	delete(g.members, fold(m.Name))
	g.announce(e)
	m.client = nil // so no OUT follows
	g.end(c, "left")
	return ""
}

func (g *group) quit(c *client, rest string) string {
	if rest != "" {
		return "bad-arguments"
	}
	g.end(c, "quit")
	return ""
}

func (g *group) ping(c *client, rest string) string {
	token := strings.TrimPrefix(rest, " ")
	if !isToken(token) {
		return "bad-arguments"
	}
	c.answer("PONG " + token + "\n")
	return ""
}

func (g *group) pong(c *client, rest string) string {
	if !isToken(strings.TrimPrefix(rest, " ")) {
		return "bad-arguments"
	}
	return ""
}

// ---------------------------------------------------------------- Joining

// join checks the password without the mutex, and then decides by the state of the group as it is
// by then. While it runs, the client is in state checked, and its reader is in here.
func (g *group) join(c *client, rest string) string {
	name, password, _ := strings.Cut(strings.TrimPrefix(rest, " "), " ")
	if name == "" || password == "" || len(password) > maxPassword {
		return "bad-arguments"
	}
	if !isName(name) {
		return "bad-name"
	}
	c.send("PENDING\n")
	c.state, c.askedAt = checked, time.Now()
	key := fold(name)
	m := g.members[key]
	isNew := m == nil && !g.isHeld(key) && g.admit != "none"
	if isNew {
		g.joining[key] = c // so no other client takes the name meanwhile
		defer delete(g.joining, key)
	}
	// Every JOIN costs a hash, whether its name exists or not: the time of the answer tells nothing.
	given := member{Name: name, Rounds: hashRounds}
	if m != nil {
		given.Salt, given.Rounds = m.Salt, m.Rounds
	}
	g.mu.Unlock()
	err := g.hashInTurn(c, &given, password)
	g.mu.Lock()

	_, isBanned := g.banned[key]
	switch {
	case c.state == over:
		return ""
	case err != nil:
		return g.notSaved(c)
	case m != nil && g.members[key] == m && subtle.ConstantTimeCompare(m.Hash, given.Hash) == 1:
		if g.welcome(c, m, false) != nil {
			return g.notSaved(c)
		}
	case isNew && !isBanned && g.admit == "all":
		if g.enrol(c, &given) != nil {
			return g.notSaved(c)
		}
	case isNew && !isBanned && len(g.asking) < maxAsking &&
		g.owner.request(name+" asks to join from "+c.address):
		c.state, c.newcomer = asking, &given
		g.asking[key] = c
	default:
		g.refuse(c)
	}
	return ""
}

// hashInTurn hashes the password when it is the client's turn: guessing must not take all cores.
func (g *group) hashInTurn(c *client, m *member, password string) error {
	select {
	case g.hashing <- struct{}{}:
		defer func() { <-g.hashing }()
		return m.hash(password)
	case <-c.ended:
		return nil // join looks at the state
	}
}

// notSaved returns the code of the ERR that ends a JOIN, and makes the client a stranger again.
func (g *group) notSaved(c *client) string {
	c.strangerAgain()
	return "not-saved"
}

// enrol makes a client a new member, m. mu is held.
func (g *group) enrol(c *client, m *member) error {
	key := fold(m.Name)
	g.members[key] = m
	if err := g.welcome(c, m, true); err != nil {
		delete(g.members, key)
		return err
	}
	return nil
}

// welcome lets a client in as the member m, if there is room. A member who is here already is
// taken over, without an event. mu is held.
func (g *group) welcome(c *client, m *member, isNew bool) error {
	if old := m.client; old != nil {
		m.client = nil // so no OUT follows
		g.end(old, "replaced")
		g.enter(c, m, g.store.newest())
		return nil
	}
	if len(g.here) >= g.maxHere {
		if isNew {
			if err := g.save(); err != nil {
				return err
			}
		}
		g.end(c, "full")
		return nil
	}
	e, err := g.record("IN", m.Name)
	if err != nil {
		return err
	}
	if isNew {
		if err := g.save(); err != nil {
			g.store.cutLast()
			return err
		}
	}
	g.enter(c, m, e.seq-1)
	g.announce(e)
	return nil
}

// enter puts a client in the place of its member. mu is held.
func (g *group) enter(c *client, m *member, newest int64) {
	delete(g.asking, fold(m.Name))
	delete(g.strangers, c)
	c.newcomer = nil
	c.state, c.member, m.client = here, m, c
	g.here[c] = true
	c.send(fmt.Sprintf("WELCOME %d %s\n", newest, m.Name))
	c.changed.Broadcast()
}

// refuse rejects a JOIN, as soon as --reject-after allows it. mu is held.
func (g *group) refuse(c *client) {
	if c.newcomer != nil {
		delete(g.asking, fold(c.newcomer.Name))
		c.newcomer = nil
	}
	c.rejectAt = c.askedAt.Add(g.rejectAfter)
	g.rejectIfDue(c, time.Now())
}

// rejectIfDue sends REJECTED to a client that has been refused. mu is held.
func (g *group) rejectIfDue(c *client, now time.Time) {
	if c.rejectAt.IsZero() || now.Before(c.rejectAt) {
		return
	}
	c.send("REJECTED refused\n")
	c.strangerAgain()
	if c.rejections++; c.rejections == maxRejections {
		g.end(c, "refused")
	}
}

// ---------------------------------------------------------------- The owner's orders

// An order gets what follows its word, with its space, and returns the lines before `ok`, or the
// words after `error: `. mu is held.
type order func(g *group, rest string) (lines string, err error)

var orders = map[string]order{
	"accept":  (*group).acceptAsking,
	"reject":  (*group).rejectAsking,
	"ban":     (*group).ban,
	"unban":   (*group).unban,
	"rename":  (*group).renameGroup,
	"members": (*group).listMembers,
	"close":   (*group).closeByOrder,
	"help":    (*group).help,
}

var (
	errMalformed  = errors.New("that is not an order; `help` lists the orders")
	errNotAsking  = errors.New("no client asks with this name")
	errNotSaved   = errors.New("could not be saved; nothing has changed")
	errNotDeleted = errors.New("not deleted")
	errLongOrder  = errors.New("the line is too long")
)

const helpLines = `# accept NAME   admit the client that asks with this name
# reject NAME   reject that client
# ban NAME      remove the member, and hold the name
# unban NAME    free the name
# rename GROUP  give the group another name
# members       list members, bans, and clients that ask
# close         end the server and keep the group
# delete        end the server and delete the group
`

// readOrders does what the owner types. At the end of the input the server continues without.
func (g *group) readOrders() {
	input := bufio.NewReaderSize(patientReader{os.Stdin}, maxLine)
	for {
		line, tooLong, err := readOrder(input)
		if err != nil {
			return
		}
		g.owner.awaitRoom()
		g.mu.Lock()
		g.handleOrder(line, tooLong)
		g.mu.Unlock()
	}
}

// readOrder returns a line without its end. A line that is too long is skipped up to its end.
func readOrder(input *bufio.Reader) (line string, tooLong bool, err error) {
	for {
		read, err := input.ReadSlice('\n')
		if err != bufio.ErrBufferFull {
			return string(cutEnd(read)), tooLong, err
		}
		tooLong = true
	}
}

// A patientReader reads a terminal that may be another program's for the moment: then a read from
// the background fails with EIO (SIGTTIN is ignored), which is not the end.
type patientReader struct{ file *os.File }

func (r patientReader) Read(bytes []byte) (int, error) {
	for {
		n, err := r.file.Read(bytes)
		if !errors.Is(err, syscall.EIO) {
			return n, err
		}
		time.Sleep(retryAfter)
	}
}

// handleOrder does one line of the owner, and answers it. mu is held.
func (g *group) handleOrder(line string, tooLong bool) {
	switch {
	case g.ending:
	case g.consent:
		g.consent = false
		g.owner.answer("", g.deleteGroup(line, tooLong))
	case tooLong:
		g.owner.answer("", errLongOrder)
	case line == "":
	case line == "delete":
		g.consent = true
		g.owner.write("type the group's name to delete it\n")
	case !utf8.ValidString(line) || !isText(line):
		g.owner.answer("", errMalformed)
	default:
		word, _, _ := strings.Cut(line, " ")
		run := orders[word]
		if run == nil {
			g.owner.answer("", errMalformed)
			return
		}
		g.owner.answer(run(g, line[len(word):]))
	}
}

func (g *group) acceptAsking(rest string) (string, error) {
	c := g.asking[fold(strings.TrimPrefix(rest, " "))]
	if c == nil {
		return "", errNotAsking
	}
	if g.enrol(c, c.newcomer) != nil {
		return "", errNotSaved
	}
	return "", nil
}

func (g *group) rejectAsking(rest string) (string, error) {
	c := g.asking[fold(strings.TrimPrefix(rest, " "))]
	if c == nil {
		return "", errNotAsking
	}
	g.refuse(c)
	return "", nil
}

func (g *group) ban(rest string) (string, error) {
	name := strings.TrimPrefix(rest, " ")
	key := fold(name)
	if !isName(name) {
		return "", errors.New("that is not a name")
	}
	if _, isBanned := g.banned[key]; isBanned {
		return "", errors.New("that name is banned already")
	}
	m := g.members[key]
	if m != nil {
		name = m.Name
	}
	e, err := g.record("BANNED", name)
	if err != nil {
		return "", errNotSaved
	}
	g.banned[key] = name
	delete(g.members, key)
	g.announce(e)
	if m != nil && m.client != nil {
		c := m.client
		m.client = nil // so no OUT follows
		g.end(c, "banned")
	}
	if c := g.asking[key]; c != nil {
		g.refuse(c)
	}
	return "", nil
}

func (g *group) unban(rest string) (string, error) {
	key := fold(strings.TrimPrefix(rest, " "))
	name, isBanned := g.banned[key]
	if !isBanned {
		return "", errors.New("that name is not banned")
	}
	delete(g.banned, key)
	if g.save() != nil {
		g.banned[key] = name
		return "", errNotSaved
	}
	return "", nil
}

func (g *group) renameGroup(rest string) (string, error) {
	name := strings.TrimPrefix(rest, " ")
	if !isGroup(name) {
		return "", errors.New("that is not a name for a group")
	}
	e, err := g.record("GROUP", name)
	if err != nil {
		return "", errNotSaved
	}
	g.name = name
	g.announce(e)
	return "", nil
}

func (g *group) listMembers(rest string) (string, error) {
	if rest != "" {
		return "", errMalformed
	}
	var list strings.Builder
	for _, m := range g.members {
		fmt.Fprintf(&list, "member %s %s\n", m.Name, m.presence())
	}
	for _, name := range g.banned {
		fmt.Fprintf(&list, "member %s banned\n", name)
	}
	for _, c := range g.asking {
		fmt.Fprintf(&list, "member %s asks from %s\n", c.newcomer.Name, c.address)
	}
	return list.String(), nil
}

func (g *group) closeByOrder(rest string) (string, error) {
	if rest != "" {
		return "", errMalformed
	}
	g.close("closed")
	return "", nil
}

func (g *group) help(rest string) (string, error) {
	if rest != "" {
		return "", errMalformed
	}
	return helpLines, nil
}

// deleteGroup deletes the group, if the line after `delete` is exactly its name. mu is held.
func (g *group) deleteGroup(line string, tooLong bool) error {
	if tooLong || line != g.name {
		return errNotDeleted
	}
	if g.store.remove() != nil {
		g.save() // the members file may be gone already
		return errNotDeleted
	}
	g.close("deleted")
	return nil
}

// ---------------------------------------------------------------- One client

type state int

const (
	stranger state = iota
	checked        // its password is being checked, or it waits for its REJECTED: nothing is read
	asking         // the owner considers it, or has refused it and REJECTED is not due yet
	here
	over // BYE was sent, or cannot be sent
)

// A client is one connection. group.mu guards all but the first five fields, which never change.
type client struct {
	conn    *net.TCPConn
	raw     syscall.RawConn
	address string
	ended   chan struct{} // closed when state becomes over
	written chan struct{} // closed when nothing more will be sent

	changed  *sync.Cond // state, buffer or the gate has changed
	state    state
	member   *member // of a client that is here
	newcomer *member // what a client that asks will be

	strangerSince time.Time // later by the time that its JOINs have taken
	askedAt       time.Time // of the last JOIN
	rejectAt      time.Time // when REJECTED is due, or zero
	rejections    int
	errors        int // before WELCOME

	quietSince time.Time // the last request, or when the answer to it had been read
	wasPinged  bool      // in this silence
	isBusy     bool      // its reader is doing a request
	readAfter  time.Time // its next request is rationed until then
	endedAt    time.Time

	outbox
}

// accept serves each connection that comes.
func (g *group) accept(listener *net.TCPListener) {
	spare, _ := os.Open(os.DevNull)
	for {
		conn, err := listener.AcceptTCP()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil: // often EMFILE: no descriptor is left, until a client has gone
			spare.Close()
			turnAway(listener)
			spare, _ = os.Open(os.DevNull)
			time.Sleep(retryAfter)
		default:
			g.receive(conn)
		}
	}
}

// turnAway closes the connection that waits to be accepted, if there is one. For that it needs a
// descriptor; the caller has just closed one.
func turnAway(listener *net.TCPListener) {
	listener.SetDeadline(time.Now().Add(time.Millisecond))
	if conn, err := listener.Accept(); err == nil {
		conn.Close()
	}
	listener.SetDeadline(time.Time{})
}

// receive makes a client of a connection, and greets it.
func (g *group) receive(conn *net.TCPConn) {
	raw, err := conn.SyscallConn()
	if err != nil || !hasSpareFiles(raw) {
		conn.Write([]byte("BYE full\n"))
		conn.Close()
		return
	}
	conn.SetWriteBuffer(g.sndbuf)
	c := &client{
		conn:          conn,
		raw:           raw,
		address:       conn.RemoteAddr().String(),
		ended:         make(chan struct{}),
		written:       make(chan struct{}),
		changed:       sync.NewCond(&g.mu),
		strangerSince: time.Now(),
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.clients[c] = true
	switch {
	case g.ending:
		g.end(c, "closed")
	case len(g.strangers) >= g.maxStrangers:
		g.end(c, "full")
	default:
		g.strangers[c] = true
		c.send("HELLO grupo/1 " + g.name + "\n")
	}
	go g.write(c)
	go g.serve(c)
}

// hasSpareFiles reports whether descriptors are left besides that of this connection. The kernel
// gives the lowest free number, so a number near the limit says that nearly all are in use.
func hasSpareFiles(raw syscall.RawConn) bool {
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) != nil {
		return true
	}
	spare := true
	raw.Control(func(fd uintptr) { spare = uint64(fd)+spareFiles < limit.Cur })
	return spare
}

// serve reads the requests of a client and does them, one by one; then it closes the connection.
func (g *group) serve(c *client) {
	// The buffer holds one line of the longest kind: if it is full, the line in it is too long.
	input := bufio.NewReaderSize(c.conn, maxLine)
	for {
		line, err := input.ReadSlice('\n')
		if !g.handle(c, line, err) {
			break
		}
	}
	<-c.written
	// An end with unread input would be a reset, which can destroy a BYE on its way. So the client
	// gets the end of file first, and time to see it.
	c.conn.CloseWrite()
	c.conn.SetReadDeadline(time.Now().Add(discardFor))
	io.Copy(io.Discard, c.conn)
	c.conn.Close()
	g.mu.Lock()
	delete(g.clients, c)
	g.mu.Unlock()
}

// handle does what the reader has read, when it is the client's turn. It returns whether the
// conversation continues.
func (g *group) handle(c *client, line []byte, err error) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.awaitTurn(c)
	switch {
	case c.state == over:
		return false
	case err == bufio.ErrBufferFull:
		g.do(c, nil, true)
	case err != nil: // the end of the input; an unfinished line is dropped
		g.end(c, "quit")
	default:
		if line = cutEnd(line); len(line) > 0 {
			g.do(c, line, false)
		}
	}
	return c.state != over
}

// awaitTurn returns when the client's next request may be done, or its conversation is over.
// mu is held, but not while it waits.
func (g *group) awaitTurn(c *client) {
	for c.state != over {
		if wait := time.Until(c.readAfter); wait > 0 {
			g.mu.Unlock()
			select {
			case <-time.After(wait):
			case <-c.ended:
			}
			g.mu.Lock()
			continue
		}
		// A client may leave a few of its own answers unread, but not all that it can ask for.
		if c.state != checked && c.own() <= g.outboxLimit/64 && !g.gate.isShut {
			return
		}
		c.changed.Wait()
	}
}

// strangerAgain ends the JOIN of a client. The time that the JOIN took does not count as its own.
// group.mu is held.
func (c *client) strangerAgain() {
	c.state, c.newcomer, c.rejectAt = stranger, nil, time.Time{}
	c.strangerSince = c.strangerSince.Add(time.Since(c.askedAt))
	c.changed.Broadcast()
}

// ---------------------------------------------------------------- What waits for a client

// An outbox is what is buffered for one client, and how well the client reads: section 9.8.
// Positions count the bytes of the whole connection. group.mu guards it.
type outbox struct {
	buffer    []byte // empty means: the kernel has accepted everything
	queued    int64  // position where the buffer ends
	ownEnd    int64  // where the last answer to a request ends, other than an event
	answerEnd int64  // where all that the last request caused ends

	since     time.Time // when the buffer was empty last
	lastTaken time.Time // when the kernel accepted bytes last, or since
	takes     []take    // what it accepted in the last keepsReading, except at once
	isSpent   bool      // the client does not read, and may no longer delay others
	isCrowded bool      // the client may delay others, and does
	isDoomed  bool      // a goroutine is about to drop the client
}

type take struct {
	at    time.Time
	bytes int
}

const (
	keepsReading = 2 * time.Second // a client keeps reading if it read readEnough in that time
	readEnough   = 64 << 10
)

// own returns how much of the buffer comes before the end of the client's own answer.
func (o *outbox) own() int {
	sent := o.queued - int64(len(o.buffer))
	switch {
	case o.ownEnd <= sent:
		return 0
	case o.ownEnd >= o.queued: // a HISTORY goes on
		return len(o.buffer)
	}
	return int(o.ownEnd - sent)
}

// send buffers whole lines for the client; its writer does the rest. group.mu is held.
func (c *client) send(lines string) {
	if len(c.buffer) == 0 {
		c.since = time.Now()
		c.lastTaken = c.since
	}
	c.buffer = append(c.buffer, lines...)
	c.queued += int64(len(lines))
	c.changed.Broadcast()
}

// answer sends lines that only this client's request caused. group.mu is held.
func (c *client) answer(lines string) {
	c.send(lines)
	c.ownEnd = c.queued
}

// write sends what is buffered for the client, until it is over and all was sent.
func (g *group) write(c *client) {
	defer close(c.written)
	g.mu.Lock()
	defer g.mu.Unlock()
	for {
		for len(c.buffer) == 0 && c.state != over {
			c.changed.Wait()
		}
		if len(c.buffer) == 0 {
			return
		}
		buffer := c.buffer // nobody changes these bytes: send appends
		g.mu.Unlock()
		taken, err := writeSome(c.raw, buffer)
		g.mu.Lock()
		if err != nil {
			g.drop(c)
			return
		}
		g.hasTaken(c, taken)
	}
}

// writeSome writes to a socket as much as it accepts at once, but waits until it accepts
// something. Unlike net.Conn's Write, it returns in time to say how much the client reads.
func writeSome(raw syscall.RawConn, bytes []byte) (n int, err error) {
	waitErr := raw.Write(func(fd uintptr) bool {
		n, err = syscall.Write(int(fd), bytes)
		return err != syscall.EAGAIN
	})
	if waitErr != nil {
		return 0, waitErr
	}
	return n, err
}

// hasTaken notes that the kernel has accepted bytes for the client. mu is held.
func (g *group) hasTaken(c *client, bytes int) {
	now := time.Now()
	c.buffer = c.buffer[bytes:]
	if len(c.buffer) == 0 {
		c.buffer, c.takes = nil, nil
	} else {
		c.lastTaken = now
		c.takes = append(c.takes, take{now, bytes})
	}
	sent := c.queued - int64(len(c.buffer))
	if sent-int64(bytes) < c.answerEnd && c.answerEnd <= sent {
		c.quietSince = now
	}
	g.watch(c, now)
	c.changed.Broadcast()
}

// watch decides whether a client may delay the others, and whether it is too slow to stay: after
// each send to it, after each event while much is buffered, and at each tick. mu is held.
func (g *group) watch(c *client, now time.Time) {
	if len(c.buffer) == 0 {
		g.setCrowding(c, false)
		return
	}
	if c.state == over { // reading single bytes does not extend the time for the BYE
		if now.Sub(c.endedAt) >= g.slowAfter {
			c.conn.Close()
		}
		return
	}
	isSpent := now.Sub(c.since) > keepsReading && c.takenLately(now) < readEnough
	foreign := len(c.buffer) - c.own()
	tooSlow := isSpent && len(c.buffer) > g.outboxLimit ||
		g.gate.isTried && foreign > g.outboxLimit ||
		now.Sub(c.lastTaken) >= g.slowAfter
	if tooSlow && !c.isDoomed {
		c.isDoomed = true
		// Not here: a caller may be in the middle of an event, and the OUT must come after it.
		go g.dropSlow(c)
	}
	g.setCrowding(c, !isSpent && foreign > g.outboxLimit/2)
}

func (g *group) dropSlow(c *client) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.drop(c)
}

// takenLately returns how many bytes the client has taken lately, and forgets older takes.
func (o *outbox) takenLately(now time.Time) (sum int) {
	for len(o.takes) > 0 && now.Sub(o.takes[0].at) > keepsReading {
		o.takes = o.takes[1:]
	}
	for _, t := range o.takes {
		sum += t.bytes
	}
	return sum
}

// A gate keeps all members from being read while clients that keep reading have fallen behind: at
// most for patience in any patienceWindow, however many clients there are. group.mu guards it.
type gate struct {
	crowding int  // how many clients it waits for
	isShut   bool // nobody is read
	isTried  bool // its patience is over
	since    time.Time
	past     []stretch // of time in which it was shut
	spent    time.Duration
}

type stretch struct {
	end  time.Time
	took time.Duration
}

const (
	patience       = 2 * time.Second
	patienceWindow = 60 * time.Second
)

// setCrowding notes whether the others have to wait for this client. mu is held.
func (g *group) setCrowding(c *client, isCrowded bool) {
	if c.isCrowded == isCrowded {
		return
	}
	c.isCrowded = isCrowded
	if isCrowded {
		g.gate.crowding++
	} else {
		g.gate.crowding--
	}
	g.moveGate(time.Now())
}

// moveGate shuts or opens the gate, if it is time to. mu is held.
func (g *group) moveGate(now time.Time) {
	t := &g.gate
	for len(t.past) > 0 && now.Sub(t.past[0].end) > patienceWindow {
		t.spent -= t.past[0].took
		t.past = t.past[1:]
	}
	spent := t.spent
	if t.isShut {
		spent += now.Sub(t.since)
	}
	t.isTried = spent >= patience
	shut := t.crowding > 0 && !t.isTried
	switch {
	case shut && !t.isShut:
		t.isShut, t.since = true, now
	case !shut && t.isShut:
		t.isShut = false
		t.past = append(t.past, stretch{now, now.Sub(t.since)})
		t.spent += now.Sub(t.since)
		g.resumeReading(t.since, now)
	}
}

// resumeReading wakes the readers. The time in which they were shut out is no silence. mu is held.
func (g *group) resumeReading(since, now time.Time) {
	for c := range g.clients {
		if since.Before(c.quietSince) {
			c.quietSince = now
		} else {
			c.quietSince = c.quietSince.Add(now.Sub(since))
		}
		c.changed.Broadcast()
	}
}

// ration lets a client wait after an event of so many bytes, if members have fallen behind and the
// patience of the gate is over: one that sends without end must not get them disconnected.
// mu is held.
func (g *group) ration(c *client, bytes int) {
	if g.gate.crowding > 0 && !g.gate.isShut {
		wait := time.Second * time.Duration(bytes) / rationedRate
		c.readAfter = time.Now().Add(wait)
	}
}

// ---------------------------------------------------------------- The clock

// watchClock looks at all deadlines. One loop costs less than a timer for each client, and almost
// nothing while the server is idle.
func (g *group) watchClock() {
	for range time.Tick(tickEvery) {
		g.mu.Lock()
		g.tick(time.Now())
		g.mu.Unlock()
	}
}

// tick does what is due. mu is held.
func (g *group) tick(now time.Time) {
	g.payOuts() // on failure the next tick tries again
	g.moveGate(now)
	for c := range g.clients {
		g.watch(c, now)
		g.rejectIfDue(c, now)
		switch c.state {
		case stranger:
			if now.Sub(c.strangerSince) >= g.joinWithin {
				g.end(c, "timeout")
			}
		case asking, here:
			g.watchSilence(c, now)
		}
	}
}

// watchSilence sends PING to a client that is silent, and ends its conversation if that does not
// help. A client is not silent while it waits for us. mu is held.
func (g *group) watchSilence(c *client, now time.Time) {
	sent := c.queued - int64(len(c.buffer))
	if c.isBusy || sent < c.answerEnd || g.gate.isShut {
		return
	}
	silence := now.Sub(c.quietSince)
	switch {
	case silence >= g.idleAfter:
		g.end(c, "idle")
	case silence >= g.pingAfter && !c.wasPinged:
		c.wasPinged = true
		g.lastToken++
		c.send(fmt.Sprintf("PING k%d\n", g.lastToken))
	}
}

// ---------------------------------------------------------------- Files

// The transcript holds the events, one line each, exactly as they are sent. The members file holds
// passwords and bans as they were right after the event Seq. It is replaced as a whole when a
// password or the end of a ban must be saved; all else follows from the events after Seq. The IN
// of a new member is written before the password: if that fails, the IN is cut off again.

type store struct {
	dir        string
	lock       *os.File // an flock on it says that a server uses this directory
	transcript *os.File
	ends       []int64 // where each event ends in the transcript, from event 1 on
}

type event struct {
	seq        int64
	verb, rest string // rest is what follows the time
	line       string // with its LF
}

// roster is who may join: what the members file holds, and what the events after it have changed.
type roster struct {
	seq     int64
	group   string
	members map[string]*member // by folded name
	banned  map[string]string  // by folded name: its spelling
}

// savedRoster is the form of the members file.
type savedRoster struct {
	Seq     int64
	Members []*member
	Banned  []string
}

const timeForm = "2006-01-02T15:04:05.000Z"

// openStore opens or creates the group in a directory. On failure it has overwritten nothing.
func openStore(dir, group string) (*store, *roster, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, nil, err
	}
	s := &store{dir: dir}
	var err error
	if s.lock, err = openFile(s.path("lock"), os.O_RDWR|os.O_CREATE); err != nil {
		return nil, nil, err
	}
	if syscall.Flock(int(s.lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil {
		return nil, nil, fmt.Errorf("another server uses the directory %s", dir)
	}
	r, err := s.readRoster()
	if err != nil {
		return nil, nil, err
	}
	if s.transcript, err = openFile(s.path("transcript"), os.O_RDWR|os.O_CREATE); err != nil {
		return nil, nil, err
	}
	if err := s.readTranscript(r); err != nil {
		return nil, nil, err
	}
	if s.newest() == 0 {
		r.group = group
		_, err = s.append("GROUP", group)
	}
	return s, r, err
}

// openFile opens a regular file for nobody but this user. It follows no link, which could lead to
// a file that is none of the group's.
func openFile(path string, flags int) (*os.File, error) {
	return os.OpenFile(path, flags|syscall.O_NOFOLLOW, 0o600)
}

func (s *store) path(name string) string { return filepath.Join(s.dir, name) }

func (s *store) newest() int64 { return int64(len(s.ends)) }

// end returns where an event ends in the transcript; the first one begins at end(0).
func (s *store) end(seq int64) int64 {
	if seq == 0 {
		return 0
	}
	return s.ends[seq-1]
}

// append writes the next event. It writes at the end of the last whole event: so the rest of a
// line that could be written only in part is overwritten by the next.
func (s *store) append(verb, rest string) (event, error) {
	e := event{seq: s.newest() + 1, verb: verb, rest: rest}
	e.line = fmt.Sprintf("%s %d %s %s\n", verb, e.seq, time.Now().UTC().Format(timeForm), rest)
	start := s.end(s.newest())
	if _, err := s.transcript.WriteAt([]byte(e.line), start); err != nil {
		s.transcript.Truncate(start)
		return event{}, err
	}
	s.ends = append(s.ends, start+int64(len(e.line)))
	return e, nil
}

// cutLast takes back the last event, which no client has received yet.
func (s *store) cutLast() {
	s.ends = s.ends[:len(s.ends)-1]
	s.transcript.Truncate(s.end(s.newest()))
}

// section returns events after the event from, but none after the event newest, as lines of about
// so many bytes, and the number of the last of them.
func (s *store) section(from, newest int64, bytes int) (lines *io.SectionReader, last int64) {
	start := s.end(from)
	last = from + 1
	for last < newest && s.end(last+1)-start <= int64(bytes) {
		last++
	}
	return io.NewSectionReader(s.transcript, start, s.end(last)-start), last
}

// readTranscript finds the events, and applies to the roster those that it does not know yet. It
// cuts off the end that no client has received: a torn line, or an IN without its password.
func (s *store) readTranscript(r *roster) error {
	lines := bufio.NewReader(s.transcript)
	hasPassword := true
	for {
		line, err := lines.ReadString('\n')
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		e, err := parseEvent(line)
		if err == nil && e.seq == s.newest()+1 && hasPassword {
			hasPassword, err = r.apply(e)
		} else {
			err = errDamaged
		}
		if err != nil {
			return fmt.Errorf("%s: line %d: %w", s.path("transcript"), s.newest()+1, err)
		}
		s.ends = append(s.ends, s.end(s.newest())+int64(len(line)))
	}
	if s.newest() < r.seq {
		return fmt.Errorf("%s: events are missing after line %d", s.path("transcript"), s.newest())
	}
	if !hasPassword {
		s.ends = s.ends[:len(s.ends)-1]
	}
	return s.transcript.Truncate(s.end(s.newest()))
}

var errDamaged = errors.New("the file is damaged")

func parseEvent(line string) (event, error) {
	fields := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 4)
	if len(fields) < 4 || !utf8.ValidString(line) {
		return event{}, errDamaged
	}
	seq, seqErr := strconv.ParseInt(fields[1], 10, 64)
	_, timeErr := time.Parse(timeForm, fields[2])
	if seqErr != nil || timeErr != nil {
		return event{}, errDamaged
	}
	return event{seq: seq, verb: fields[0], rest: fields[3], line: line}, nil
}

// apply changes the roster as an event did. It returns false after the IN of a name that is no
// member: then the password is missing.
func (r *roster) apply(e event) (hasPassword bool, err error) {
	if e.verb == "GROUP" {
		r.group = e.rest
		return true, nil
	}
	if r.group == "" { // each transcript begins with GROUP
		return false, errDamaged
	}
	if e.seq <= r.seq {
		return true, nil
	}
	name, more, _ := strings.Cut(e.rest, " ")
	key := fold(name)
	m := r.members[key]
	switch e.verb {
	case "MSG", "OUT":
	case "IN":
		return m != nil, nil
	case "RENAMED":
		if m == nil {
			return false, errDamaged
		}
		delete(r.members, key)
		m.Name = more
		r.members[fold(more)] = m
	case "LEFT":
		delete(r.members, key)
	case "BANNED":
		delete(r.members, key)
		r.banned[key] = name
	default:
		return false, errDamaged
	}
	return true, nil
}

// readRoster reads the members file. Without one, nobody is a member.
func (s *store) readRoster() (*roster, error) {
	r := &roster{members: map[string]*member{}, banned: map[string]string{}}
	file, err := openFile(s.path("members"), os.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var saved savedRoster
	decoder := json.NewDecoder(file)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&saved); err != nil || saved.Seq < 1 {
		return nil, fmt.Errorf("%s: %w", file.Name(), errDamaged)
	}
	r.seq = saved.Seq
	for _, m := range saved.Members {
		if !isName(m.Name) || m.Rounds < 1 || len(m.Salt) == 0 || len(m.Hash) == 0 {
			return nil, fmt.Errorf("%s: %w", file.Name(), errDamaged)
		}
		r.members[fold(m.Name)] = m
	}
	for _, name := range saved.Banned {
		if !isName(name) {
			return nil, fmt.Errorf("%s: %w", file.Name(), errDamaged)
		}
		r.banned[fold(name)] = name
	}
	return r, nil
}

// save replaces the members file. mu is held.
func (g *group) save() error {
	saved := savedRoster{Seq: g.store.newest()}
	for _, m := range g.members {
		saved.Members = append(saved.Members, m)
	}
	for _, name := range g.banned {
		saved.Banned = append(saved.Banned, name)
	}
	return g.store.save(saved)
}

// save replaces the members file so that a crash at any moment leaves the old one or the new one.
func (s *store) save(saved savedRoster) error {
	text, err := json.MarshalIndent(saved, "", "  ")
	if err != nil {
		return err
	}
	// After a power cut the transcript must not end before the event that this file speaks of.
	if err := s.transcript.Sync(); err != nil {
		return err
	}
	temporary := s.path("members.new")
	file, err := openFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return err
	}
	_, err = file.Write(append(text, '\n'))
	if err == nil {
		err = file.Sync()
	}
	if closeErr := file.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(temporary, s.path("members"))
	}
	if err != nil {
		os.Remove(temporary)
		return err
	}
	s.syncDirectory()
	return nil
}

// syncDirectory makes a rename outlast a power cut, on file systems that can do that.
func (s *store) syncDirectory() {
	if directory, err := os.Open(s.dir); err == nil {
		directory.Sync()
		directory.Close()
	}
}

// remove deletes the group. The transcript is the last file to go: without it, a members file
// would be damage.
func (s *store) remove() error {
	for _, name := range []string{"members.new", "members", "transcript"} {
		if err := os.Remove(s.path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// ---------------------------------------------------------------- Passwords

// hashRounds makes a hash cost about 0.05 s of CPU. A member keeps the number that its hash was
// made with.
const hashRounds = 100_000

// hash sets Hash from a password: PBKDF2 (RFC 8018) with HMAC-SHA-256, of which one block is
// enough. It makes a salt if there is none yet.
func (m *member) hash(password string) error {
	if m.Salt == nil {
		m.Salt = make([]byte, 16)
		if _, err := rand.Read(m.Salt); err != nil {
			return err
		}
	}
	mac := hmac.New(sha256.New, []byte(password))
	mac.Write(m.Salt)
	mac.Write([]byte{0, 0, 0, 1}) // the number of the block
	block := mac.Sum(nil)
	m.Hash = append([]byte(nil), block...)
	for i := 1; i < m.Rounds; i++ {
		mac.Reset()
		mac.Write(block)
		block = mac.Sum(block[:0])
		for j := range block {
			m.Hash[j] ^= block[j]
		}
	}
	return nil
}

// ---------------------------------------------------------------- The owner's screen

// A console is what is buffered for the owner, who may not read. Its own mutex is locked while
// group.mu is, never the other way round.
type console struct {
	mu      sync.Mutex
	changed *sync.Cond
	buffer  []byte // the first bytes may be on their way
	dropped int    // lines that were not shown, since too much was buffered
}

const (
	shownUpTo     = 64 << 10  // events are shown while less than this is buffered
	requestedUpTo = 128 << 10 // and requests to join
	printStep     = 4 << 10
)

func newConsole() *console {
	c := &console{}
	c.changed = sync.NewCond(&c.mu)
	return c
}

// print writes what is buffered. It alone waits for the owner.
func (c *console) print() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		for len(c.buffer) == 0 {
			c.changed.Wait()
		}
		step := c.buffer
		if len(step) > printStep {
			step = step[:printStep]
		}
		c.mu.Unlock()
		os.Stdout.Write(step) // on failure the owner has gone, and misses this
		c.mu.Lock()
		c.buffer = c.buffer[len(step):]
		if len(c.buffer) == 0 && c.dropped > 0 {
			c.buffer = append(c.buffer, fmt.Sprintf("# %d lines not shown\n", c.dropped)...)
			c.dropped = 0
		}
		c.changed.Broadcast()
	}
}

// write buffers lines that must not be dropped.
func (c *console) write(lines string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.buffer = append(c.buffer, lines...)
	c.changed.Broadcast()
}

// answer answers an order.
func (c *console) answer(lines string, err error) {
	if err != nil {
		c.write("error: " + err.Error() + "\n")
		return
	}
	c.write(lines + "ok\n")
}

// show buffers a line, if there is room for it.
func (c *console) show(line string) {
	c.tryWrite(line, shownUpTo)
}

// request announces a client that asks to join. It returns whether there was room for that.
func (c *console) request(line string) bool {
	return c.tryWrite(line, requestedUpTo)
}

func (c *console) tryWrite(line string, upTo int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.buffer) >= upTo {
		c.dropped++
		return false
	}
	c.buffer = append(append(c.buffer, line...), '\n')
	c.changed.Broadcast()
	return true
}

// awaitRoom returns when the owner has read enough to give the next order.
func (c *console) awaitRoom() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.buffer) >= shownUpTo {
		c.changed.Wait()
	}
}

func (c *console) hasReadAll() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.buffer) == 0
}

// note returns how the owner's console shows an event.
func (e event) note() string {
	name, more, _ := strings.Cut(e.rest, " ")
	switch e.verb {
	case "MSG":
		return "<" + name + "> " + printable(more)
	case "IN":
		return "* " + name + " came"
	case "OUT":
		return "* " + name + " went"
	case "LEFT":
		return "* " + name + " left"
	case "RENAMED":
		return "# " + name + " is now " + more
	case "BANNED":
		return "# " + name + " is banned"
	default:
		return "# the group is now " + printable(e.rest)
	}
}

// printable returns a text as a terminal may show it, with the numbers of characters that have no
// agreed shape.
func printable(text string) string {
	var shown strings.Builder
	for _, r := range text {
		if unicode.IsPrint(r) {
			shown.WriteRune(r)
		} else {
			fmt.Fprintf(&shown, "U+%04X", r)
		}
	}
	return shown.String()
}
