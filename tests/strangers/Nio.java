// Nio.java: a chat server for one group, grupo/1. It needs a JDK from 17 on, on Linux, no library.
//
//     javac -d build Nio.java
//     java -cp build Nio --port 7000 --group os-lab --dir ./grupo --admit ask
//
// One thread, the loop in Server.run, owns all clients and the group, and blocks in select() only.
// So what is shared needs no lock. Other threads do what would block the loop: they check
// passwords, read the owner's orders, and print. They leave their results in queues and wake up
// the loop. The loop waits for no client: an Outbox keeps what the kernel does not accept yet. An
// event is in the transcript before the first client gets it.
//
// Read from the bottom up: the server, the connection, the outbox, the console, the files.

import java.io.*;
import java.net.*;
import java.nio.ByteBuffer;
import java.nio.channels.*;
import java.nio.charset.*;
import java.nio.file.*;
import java.nio.file.attribute.*;
import java.security.*;
import java.time.*;
import java.time.format.DateTimeFormatter;
import java.util.*;
import java.util.concurrent.*;
import java.util.function.Consumer;
import java.util.regex.*;
import javax.crypto.SecretKeyFactory;
import javax.crypto.spec.PBEKeySpec;
import sun.misc.Signal; // javac warns of these two; the JDK has nothing else for signals
import sun.misc.SignalHandler;

final class Nio {
  static final long SECOND = 1_000_000_000L; // all times are in nanoseconds
  static final long TICK = SECOND / 20; // how often the loop looks at deadlines
  static final int MAX_LINE = 512; // bytes, including the LF
  static final int MAX_NAME = 32;
  static final int MAX_TEXT = 400; // bytes, as for the next two
  static final int MAX_PASSWORD = 128;
  static final int MAX_GROUP = 64;
  static final int MAX_ASKING = 32; // names that the owner is considering
  static final int MAX_REJECTED = 3; // REJECTED on one connection
  static final int MAX_ERRORS = 10; // ERR on one connection before WELCOME
  static final int READ_SIZE = 4096; // bytes read from a client at a time
  static final int PIECE = 65536; // bytes sent, or read from the transcript, at a time
  static final int REQUESTS_A_VISIT = 16; // of one client, before the next client's turn
  static final int EVENTS_A_TURN = 65536; // bytes of events in a turn; then the outboxes are sent
  static final int OWNER_BUFFER = 65536; // bytes that may wait for an owner who does not read

  private static final long START = System.nanoTime();

  private Nio() {}

  /** Since the start of this program: Java's own clock may begin below zero. */
  static long clock() {
    return System.nanoTime() - START;
  }

  public static void main(String[] arguments) {
    // A class that is first needed when no descriptor is left cannot be loaded, since the JVM
    // cannot open its file. So all classes of this program are loaded now.
    Nio.class.getNestMembers();
    try {
      new Server(Options.parse(typed(arguments))).run();
    } catch (UsageException wrong) {
      System.err.println("nio: " + wrong.getMessage());
      System.exit(2);
    } catch (StartException failed) {
      System.err.println("nio: " + failed.getMessage());
      System.exit(1);
    }
    System.exit(0); // the threads that read and print may be blocked; they do not hold up the end
  }

  /**
   * The arguments as they were typed. The JVM decodes them with the locale's characters, and the
   * locale C has ASCII alone: a group's name would be lost.
   */
  private static String[] typed(String[] arguments) throws UsageException {
    try {
      byte[] all = Files.readAllBytes(Path.of("/proc/self/cmdline"));
      String[] words = Text.decode(all).split("\0", -1); // the last one is empty
      int end = words.length - 1;
      return Arrays.copyOfRange(words, end - arguments.length, end);
    } catch (IOException notUtf8) {
      throw new UsageException("the arguments are not UTF-8");
    }
  }

  /** A thread that does not keep the program alive: when the loop ends, all ends. */
  private static Thread inBackground(String name, Runnable task) {
    Thread thread = new Thread(task, name);
    thread.setDaemon(true);
    return thread;
  }

  /** The command line is wrong. */
  static final class UsageException extends Exception {
    UsageException(String why) {
      super(why);
    }
  }

  /** The server cannot start. */
  static final class StartException extends Exception {
    StartException(String why) {
      super(why);
    }
  }

  /** A request that is not done; the client gets ERR with this code. */
  static final class RefusedException extends Exception {
    final Code code;

    RefusedException(Code code) {
      super(code.words, null, false, false); // without a stack trace: this is not rare
      this.code = code;
    }
  }

  /** An order that is not done; the owner gets "error: " and the message. */
  static final class OrderException extends Exception {
    OrderException(String why) {
      super(why, null, false, false);
    }
  }

  /** Why a request was not done. */
  enum Code {
    TOO_LONG("a line has at most 512 bytes"),
    BAD_UTF8("the line is not UTF-8"),
    BAD_TEXT("the line has a character that is not allowed, such as a control character"),
    UNKNOWN("there is no such verb"),
    NOT_JOINED("ask to enter first, with JOIN"),
    ALREADY_JOINED("this connection has asked to join already"),
    BAD_ARGUMENTS("a field is missing, too long, or one too many"),
    BAD_NAME("a name is 1 to 32 ASCII letters, digits, . _ - and begins with a letter or digit"),
    NAME_TAKEN("this name is held"),
    NOT_SAVED("the server cannot write to its disk; try again later");

    final String words;

    Code(String words) {
      this.words = words;
    }

    String onTheWire() {
      return name().toLowerCase(Locale.ROOT).replace('_', '-');
    }
  }

  /** What a client may send. */
  enum Verb {
    JOIN, SAY, NAME, WHO, HISTORY, LEAVE, QUIT, PING, PONG;

    private static final Map<String, Verb> BY_WORD = new HashMap<>();

    static {
      for (Verb verb : values()) {
        BY_WORD.put(verb.name(), verb);
      }
    }

    static Verb of(String word) throws RefusedException {
      Verb verb = BY_WORD.get(word);
      if (verb == null) {
        throw new RefusedException(Code.UNKNOWN);
      }
      return verb;
    }

    boolean needsMembership() {
      return switch (this) {
        case SAY, NAME, WHO, HISTORY, LEAVE -> true;
        case JOIN, QUIT, PING, PONG -> false;
      };
    }
  }

  /** Section 4: where a connection is in its life. */
  enum State { STRANGER, CHECKED, ASKING, HERE, OVER }

  /** Who may join. */
  enum Admit { ASK, ALL, NONE }

  // --------------------------------------------------------------------------- the command line

  record Options(String host, int port, String group, Path dir, Admit admit, long joinWithin,
      long pingAfter, long idleAfter, long slowAfter, long rejectAfter, long outbox, int sndbuf,
      int hashes, int maxHere, int maxStrangers) {
    private static final Map<String, String> DEFAULTS = Map.ofEntries(
        Map.entry("--host", "127.0.0.1"),
        Map.entry("--port", "7000"),
        Map.entry("--group", "grupo"),
        Map.entry("--dir", "./grupo"),
        Map.entry("--admit", "ask"),
        Map.entry("--join-within", "20"),
        Map.entry("--ping-after", "60"),
        Map.entry("--idle-after", "90"),
        Map.entry("--slow-after", "10"),
        Map.entry("--reject-after", "1"),
        Map.entry("--outbox", "1048576"),
        Map.entry("--sndbuf", "65536"),
        Map.entry("--hashes", String.valueOf(usualHashes())),
        Map.entry("--max-here", "1024"),
        Map.entry("--max-strangers", "256"));
    private static final Pattern DIGITS = Pattern.compile("[0-9]+"); // \d may mean more than ASCII
    private static final Pattern SECONDS = Pattern.compile("[0-9]+(\\.[0-9]*)?|\\.[0-9]+");
    private static final double LONGEST = 1e9; // seconds; more would overflow the sums of times

    private static int usualHashes() {
      return Math.min(2, Math.max(1, Runtime.getRuntime().availableProcessors() - 1));
    }

    static Options parse(String[] arguments) throws UsageException {
      Map<String, String> given = new HashMap<>(DEFAULTS);
      for (int i = 0; i < arguments.length; i++) {
        int equals = arguments[i].indexOf('=');
        String flag = equals < 0 ? arguments[i] : arguments[i].substring(0, equals);
        if (!DEFAULTS.containsKey(flag)) {
          throw new UsageException("the flags are " + flags());
        }
        if (equals < 0 && ++i == arguments.length) {
          throw new UsageException(flag + " needs a value");
        }
        given.put(flag, equals < 0 ? arguments[i] : arguments[i].substring(equals + 1));
      }
      return of(given);
    }

    private static Options of(Map<String, String> given) throws UsageException {
      return new Options(given.get("--host"), port(given), group(given), dir(given), admit(given),
          seconds(given, "--join-within"), seconds(given, "--ping-after"),
          seconds(given, "--idle-after"), seconds(given, "--slow-after"),
          seconds(given, "--reject-after"), count(given, "--outbox", 4096),
          count(given, "--sndbuf", 1), count(given, "--hashes", 1), count(given, "--max-here", 1),
          count(given, "--max-strangers", 1));
    }

    private static String flags() {
      return String.join(" ", DEFAULTS.keySet().stream().sorted().toList());
    }

    private static int port(Map<String, String> given) throws UsageException {
      String value = given.get("--port");
      if (!DIGITS.matcher(value).matches() || number(value) > 65535) {
        throw new UsageException("--port takes a number from 0 to 65535");
      }
      return number(value);
    }

    private static String group(Map<String, String> given) throws UsageException {
      if (!Text.isGroup(given.get("--group"))) {
        throw new UsageException(
            "--group takes 1 to 64 bytes of text without a space at either end");
      }
      return given.get("--group");
    }

    private static Path dir(Map<String, String> given) throws UsageException {
      try {
        return Path.of(given.get("--dir"));
      } catch (InvalidPathException invalid) {
        throw new UsageException("--dir is not a path in this locale");
      }
    }

    private static Admit admit(Map<String, String> given) throws UsageException {
      return switch (given.get("--admit")) {
        case "ask" -> Admit.ASK;
        case "all" -> Admit.ALL;
        case "none" -> Admit.NONE;
        default -> throw new UsageException("--admit takes ask, all or none");
      };
    }

    private static long seconds(Map<String, String> given, String flag) throws UsageException {
      if (!SECONDS.matcher(given.get(flag)).matches()) {
        throw new UsageException(flag + " takes a number of seconds, 0 or more");
      }
      return (long) (Math.min(Double.parseDouble(given.get(flag)), LONGEST) * SECOND);
    }

    private static int count(Map<String, String> given, String flag, int least)
        throws UsageException {
      String value = given.get(flag);
      if (!DIGITS.matcher(value).matches() || number(value) < least) {
        throw new UsageException(flag + " takes a whole number, " + least + " or more");
      }
      return number(value);
    }

    /** The number that these digits write; one that is too large for an int is cut down to it. */
    private static int number(String digits) {
      String significant = digits.replaceFirst("^0+(?=.)", "");
      return significant.length() > 9 ? Integer.MAX_VALUE : Integer.parseInt(significant);
    }
  }

  // ----------------------------------------------------------------------------- text and names

  /** Section 3: characters and fields. */
  static final class Text {
    private Text() {}

    /** Decodes strictly: String's own constructor would replace what is not UTF-8. */
    static String decode(byte[] line) throws CharacterCodingException {
      CharsetDecoder strict = StandardCharsets.UTF_8.newDecoder();
      strict.onMalformedInput(CodingErrorAction.REPORT);
      return strict.decode(ByteBuffer.wrap(line)).toString();
    }

    static byte[] encode(String line) {
      return (line + "\n").getBytes(StandardCharsets.UTF_8);
    }

    static int bytes(String text) {
      return text.getBytes(StandardCharsets.UTF_8).length;
    }

    static boolean isText(String text) {
      return text.codePoints().allMatch(Text::isTextChar);
    }

    private static boolean isTextChar(int c) {
      boolean control = c < 0x20 || c >= 0x7f && c <= 0x9f;
      boolean turnsWriting = c >= 0x202a && c <= 0x202e || c >= 0x2066 && c <= 0x2069;
      boolean surrogate = c >= 0xd800 && c <= 0xdfff;
      boolean noncharacter = c >= 0xfdd0 && c <= 0xfdef || (c & 0xfffe) == 0xfffe;
      return !control && !turnsWriting && !surrogate && !noncharacter;
    }

    /** The text as people see it: a character without a meaning of its own shows its number. */
    static String shown(String text) {
      StringBuilder shown = new StringBuilder();
      text.codePoints().forEach(c -> {
        int type = Character.getType(c);
        if (type == Character.PRIVATE_USE || type == Character.UNASSIGNED) {
          shown.append(String.format("U+%04X", c));
        } else {
          shown.appendCodePoint(c);
        }
      });
      return shown.toString();
    }

    static boolean isGroup(String group) {
      int size = bytes(group);
      return size >= 1 && size <= MAX_GROUP && isText(group) && !group.startsWith(" ")
          && !group.endsWith(" ");
    }

    /** This server accepts the names that every server accepts, and no others. */
    static boolean isName(String name) {
      return !name.isEmpty() && name.length() <= MAX_NAME && isLetterOrDigit(name.charAt(0))
          && name.chars().allMatch(c -> isLetterOrDigit(c) || ".-_".indexOf(c) >= 0);
    }

    private static boolean isLetterOrDigit(int c) { // Character.isLetter is not only about ASCII
      return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9';
    }

    /** The form in which names are compared. */
    static String fold(String name) {
      return name.toLowerCase(Locale.ROOT);
    }

    static boolean isDigits(String field, int most) {
      return !field.isEmpty() && field.length() <= most
          && field.chars().allMatch(c -> c >= '0' && c <= '9');
    }

    static boolean isToken(String field) {
      return !field.isEmpty() && field.length() <= 64
          && field.chars().allMatch(c -> c > ' ' && c <= '~');
    }

    static String address(InetSocketAddress address) {
      String host = address.getAddress().getHostAddress();
      if (address.getAddress() instanceof Inet6Address) {
        host = "[" + shortened(host) + "]";
      }
      return host + ":" + address.getPort();
    }

    /** Java writes all eight groups of an IPv6 address; "::" is the longest run of zeros. */
    private static String shortened(String host) {
      String longest = "";
      Matcher runs = Pattern.compile("\\b0(:0)+\\b").matcher(host);
      while (runs.find()) {
        longest = runs.group().length() > longest.length() ? runs.group() : longest;
      }
      if (longest.isEmpty()) {
        return host;
      }
      int start = host.indexOf(longest);
      return host.substring(0, start).replaceFirst(":$", "") + "::"
          + host.substring(start + longest.length()).replaceFirst("^:", "");
    }
  }

  // ---------------------------------------------------------------------------------- passwords

  /** What the check of a password found out. */
  sealed interface Outcome permits Known, Fresh, Hopeless {}

  /** The password is this member's. */
  record Known(Member member) implements Outcome {}

  /** The name was free, and this is the hash for a new member. */
  record Fresh(String hash) implements Outcome {}

  /** A wrong password, or a name that cannot join. */
  record Hopeless() implements Outcome {}

  /** Hashes passwords on a few threads, in the order in which they come. */
  static final class Passwords {
    private static final int ITERATIONS = 9_000; // about 0.03 s, without the best compiler
    private static final int SALT = 16; // bytes
    private static final int SIZE = 256; // bits
    private final SecureRandom random = new SecureRandom();
    private final ThreadPoolExecutor threads;
    private final String nobodys; // a hash that matches no password

    Passwords(int count) {
      threads = new ThreadPoolExecutor(count, count, 0, TimeUnit.SECONDS,
          new LinkedBlockingQueue<>(), task -> inBackground("passwords", task));
      threads.prestartAllCoreThreads(); // later, there may be no thread left
      byte[] noise = new byte[SIZE / 8];
      random.nextBytes(noise);
      nobodys = written(salt(), noise);
      // The first hash is slow, since the JVM loads and compiles. No client should pay for it.
      threads.execute(() -> matches("warm-up", nobodys));
    }

    /** Checks on another thread, unless the client is gone, and calls `answer` there. */
    void check(Connection client, Attempt attempt, Consumer<Outcome> answer) {
      threads.execute(() -> {
        if (!client.gone) {
          answer.accept(outcome(attempt));
        }
      });
    }

    private Outcome outcome(Attempt attempt) {
      if (attempt.member() != null) {
        boolean right = matches(attempt.password(), attempt.member().hash);
        return right ? new Known(attempt.member()) : new Hopeless();
      }
      if (attempt.canBeNew()) {
        byte[] salt = salt();
        return new Fresh(written(salt, hash(attempt.password(), salt, ITERATIONS)));
      }
      matches(attempt.password(), nobodys); // the time must not tell that there is no such member
      return new Hopeless();
    }

    private byte[] salt() {
      byte[] salt = new byte[SALT];
      random.nextBytes(salt);
      return salt;
    }

    private static String written(byte[] salt, byte[] hash) {
      Base64.Encoder base64 = Base64.getEncoder();
      return String.join("$", "pbkdf2-sha256", String.valueOf(ITERATIONS),
          base64.encodeToString(salt), base64.encodeToString(hash));
    }

    private static boolean matches(String password, String written) {
      String[] parts = written.split("\\$");
      byte[] salt = Base64.getDecoder().decode(parts[2]);
      byte[] hash = Base64.getDecoder().decode(parts[3]);
      return MessageDigest.isEqual(hash, hash(password, salt, Integer.parseInt(parts[1])));
    }

    private static byte[] hash(String password, byte[] salt, int iterations) {
      try {
        PBEKeySpec key = new PBEKeySpec(password.toCharArray(), salt, iterations, SIZE);
        SecretKeyFactory factory = SecretKeyFactory.getInstance("PBKDF2WithHmacSHA256");
        return factory.generateSecret(key).getEncoded();
      } catch (GeneralSecurityException missing) {
        throw new IllegalStateException(missing); // every JDK has this algorithm
      }
    }
  }

  /** One JOIN: the member with this name, if there is one; whether it can become a new member. */
  record Attempt(String name, String password, Member member, boolean canBeNew) {}

  // -------------------------------------------------------------------- the group and its files

  /** A name that was admitted, and its connection while it is here. */
  static final class Member {
    final String hash;
    String name;
    Connection connection; // null: away

    Member(String name, String hash) {
      this.name = name;
      this.hash = hash;
    }
  }

  /** Who is a member, and which names are held. */
  static final class Group {
    final Map<String, Member> members = new LinkedHashMap<>(); // the keys of all three are folded
    final Map<String, String> banned = new LinkedHashMap<>(); // values: the spelling to show
    final Map<String, Connection> requests = new LinkedHashMap<>(); // JOINs with new names
    String title;

    Member member(String name) {
      return members.get(Text.fold(name));
    }

    boolean isBanned(String name) {
      return banned.containsKey(Text.fold(name));
    }

    boolean isHeld(String name) {
      return member(name) != null || isBanned(name) || requests.containsKey(Text.fold(name));
    }

    void add(Member member) {
      members.put(Text.fold(member.name), member);
    }

    void remove(Member member) {
      members.remove(Text.fold(member.name));
    }

    void rename(Member member, String name) {
      remove(member);
      member.name = name;
      add(member);
    }

    /** Removes the member, if there is one, and holds the name; `name` is shown from now on. */
    void ban(String name) {
      members.remove(Text.fold(name));
      banned.put(Text.fold(name), name);
    }
  }

  /**
   * Two files. `transcript` has the events, exactly as they are sent. `members` has the names with
   * their hashes, and the bans, as they were after event N; the next start does later events again.
   * A new member changes both files: first `members.new` is written, then the event IN, then
   * `members.new` takes the place of `members`. If the server is killed between the last two
   * steps, the next start does the last one.
   */
  static final class Storage {
    private static final Set<PosixFilePermission> MINE =
        PosixFilePermissions.fromString("rw-------");
    private static final FileAttribute<?> PRIVATE_FILE = PosixFilePermissions.asFileAttribute(MINE);
    private static final FileAttribute<?> PRIVATE_DIR =
        PosixFilePermissions.asFileAttribute(PosixFilePermissions.fromString("rwx------"));
    private static final DateTimeFormatter TIME =
        DateTimeFormatter.ofPattern("uuuu-MM-dd'T'HH:mm:ss.SSS'Z'").withZone(ZoneOffset.UTC);
    private static final String HEADER = "# grupo 1 seq ";
    private static final String TRAILER = "# end"; // without it, the file is not complete
    private static final int STRIDE = 64; // events; 64 lines are at most 32 KiB, less than a PIECE

    private final Path dir;
    private final Group group;
    private final List<Long> marks = new ArrayList<>(); // where the events 1, 65, 129 ... begin
    private FileChannel transcript;
    private FileChannel lock; // a field, so that it is not collected, which would close it
    private long end; // of the last whole event in the transcript
    private boolean torn; // the file may be longer than that
    private long seq; // of the newest event

    Storage(Path dir, Group group) {
      this.dir = dir;
      this.group = group;
    }

    long seq() {
      return seq;
    }

    long end() {
      return end;
    }

    /** Locks the directory and reads the group, if it holds one: then `group.title` is not null. */
    void open() throws StartException {
      try {
        if (!Files.isDirectory(dir)) { // it may be a link to one
          Files.createDirectories(dir, PRIVATE_DIR);
        }
        lock = file("lock", StandardOpenOption.CREATE, StandardOpenOption.WRITE);
        if (!isLocked()) {
          throw new StartException("another server holds the directory of --dir");
        }
        finishDelete();
        transcript = file("transcript", StandardOpenOption.CREATE, StandardOpenOption.READ,
            StandardOpenOption.WRITE);
        load();
      } catch (IOException failed) {
        throw new StartException("cannot use the directory of --dir: " + reason(failed));
      }
    }

    private static String reason(IOException failed) {
      String name = failed.getClass().getSimpleName(); // its message may be just the path
      return failed.getClass() == IOException.class ? failed.getMessage() : name;
    }

    private boolean isLocked() throws IOException {
      try {
        return lock.tryLock() != null;
      } catch (OverlappingFileLockException held) {
        return false;
      }
    }

    private FileChannel file(String name, OpenOption... options) throws IOException {
      Set<OpenOption> all = new LinkedHashSet<>(Arrays.asList(options));
      all.add(LinkOption.NOFOLLOW_LINKS);
      return FileChannel.open(dir.resolve(name), all, PRIVATE_FILE);
    }

    // ---------------------------------------------------------------------------------- writing

    /** Writes an event and returns its line. If it throws, there is no such event. */
    byte[] append(String verb, String fields) throws IOException {
      String time = TIME.format(Instant.now());
      byte[] line = Text.encode(verb + " " + (seq + 1) + " " + time + " " + fields);
      if (torn) {
        cut();
      }
      ByteBuffer rest = ByteBuffer.wrap(line);
      try {
        while (rest.hasRemaining()) {
          transcript.write(rest, end + rest.position());
        }
      } catch (IOException diskIsFull) {
        torn = true; // some of the line may be written; if it cannot be cut now, then later
        cut();
        throw diskIsFull;
      }
      mark(seq + 1, end);
      end += line.length;
      seq++;
      return line;
    }

    private void cut() throws IOException {
      transcript.truncate(end);
      torn = false;
    }

    /** Writes an event that admits a new member, who is in the group already. */
    byte[] appendWithMembers(String verb, String fields) throws IOException {
      writeNewMembers(seq + 1);
      long before = seq;
      long start = end;
      try {
        byte[] line = append(verb, fields);
        replaceMembers();
        return line;
      } catch (IOException failed) {
        seq = before;
        end = start;
        torn = true; // if members.new could not be renamed, the event stands there, whole
        cut();
        Files.deleteIfExists(dir.resolve("members.new"));
        throw failed;
      }
    }

    /** Writes the members where no event tells what has changed. */
    void saveMembers() throws IOException {
      writeNewMembers(seq);
      replaceMembers();
    }

    private void writeNewMembers(long upTo) throws IOException {
      StringBuilder text = new StringBuilder(HEADER + upTo + "\n");
      for (Member member : group.members.values()) {
        text.append(member.name).append(":member:").append(member.hash).append('\n');
      }
      for (String name : group.banned.values()) {
        text.append(name).append(":banned:-\n");
      }
      ByteBuffer bytes = ByteBuffer.wrap(Text.encode(text + TRAILER));
      Files.deleteIfExists(dir.resolve("members.new"));
      OpenOption[] fresh = {StandardOpenOption.CREATE_NEW, StandardOpenOption.WRITE};
      try (FileChannel file = file("members.new", fresh)) {
        while (bytes.hasRemaining()) {
          file.write(bytes);
        }
        file.force(true);
      } catch (IOException failed) {
        Files.deleteIfExists(dir.resolve("members.new"));
        throw failed;
      }
    }

    private void replaceMembers() throws IOException {
      Path from = dir.resolve("members.new");
      Files.move(from, dir.resolve("members"), StandardCopyOption.ATOMIC_MOVE);
    }

    /** Deletes the group. If the server is killed in between, the next start does the rest. */
    void delete() throws IOException {
      Path transcript = dir.resolve("transcript");
      Files.move(transcript, dir.resolve("deleted"), StandardCopyOption.ATOMIC_MOVE);
      try {
        finishDelete();
      } catch (IOException later) {
        // there is no group any more, and the next start tries again
      }
    }

    private void finishDelete() throws IOException {
      if (Files.exists(dir.resolve("deleted"), LinkOption.NOFOLLOW_LINKS)) {
        Files.deleteIfExists(dir.resolve("members"));
        Files.deleteIfExists(dir.resolve("members.new"));
        Files.delete(dir.resolve("deleted"));
      }
    }

    private void mark(long number, long offset) {
      if (number > (long) marks.size() * STRIDE) {
        marks.add(offset);
      }
    }

    // ---------------------------------------------------------------------------------- reading

    /** Where the event with this number begins, or the end of the transcript. */
    long offset(long number) throws IOException {
      if (number > seq) {
        return end;
      }
      long start = marks.get((int) ((number - 1) / STRIDE));
      byte[] lines = piece(start, end);
      int at = 0;
      for (long skip = (number - 1) % STRIDE; skip > 0; at++) {
        skip -= lines[at] == '\n' ? 1 : 0;
      }
      return start + at;
    }

    /** Whole lines from `start` on, not beyond `limit`, at most PIECE bytes. */
    byte[] piece(long start, long limit) throws IOException {
      ByteBuffer bytes = ByteBuffer.allocate((int) Math.min(PIECE, limit - start));
      while (bytes.hasRemaining()) {
        if (transcript.read(bytes, start + bytes.position()) < 0) {
          throw new IOException("the transcript has become shorter");
        }
      }
      int size = bytes.position();
      while (size > 0 && bytes.get(size - 1) != '\n') {
        size--;
      }
      return Arrays.copyOf(bytes.array(), size);
    }

    private void load() throws IOException, StartException {
      if (!hasWholeLine()) { // killed inside its first line, or never started: the group is new
        if (Files.exists(dir.resolve("members"), LinkOption.NOFOLLOW_LINKS)) {
          throw damaged("transcript"); // a new group has no members
        }
        transcript.truncate(0);
        return;
      }
      readTranscript();
      long saved = readMembers();
      if (saved > seq) {
        throw damaged("members");
      }
      applyAfter(saved);
      transcript.truncate(end); // a torn last line
    }

    private static StartException damaged(String file) {
      return new StartException("the file " + file + " in the directory of --dir is damaged");
    }

    private boolean hasWholeLine() throws IOException {
      ByteBuffer start = ByteBuffer.allocate(MAX_LINE);
      int size = transcript.read(start, 0);
      boolean tooLong = size == MAX_LINE; // for an event: damaged, and not torn
      return tooLong || new String(start.array(), StandardCharsets.ISO_8859_1).contains("\n");
    }

    /** One line of the transcript. */
    record Event(String verb, long number, String fields) {}

    /** Checks each line, and learns the group's name and where the events begin. */
    private void readTranscript() throws IOException, StartException {
      try (InputStream input = open("transcript")) {
        ByteArrayOutputStream line = new ByteArrayOutputStream(MAX_LINE);
        for (int next = input.read(); next >= 0; next = input.read()) {
          if (next != '\n') {
            line.write(next);
            continue;
          }
          Event event = event(line.toByteArray(), seq + 1);
          group.title = event.verb().equals("GROUP") ? event.fields() : group.title;
          mark(event.number(), end);
          seq = event.number();
          end += line.size() + 1;
          line.reset();
        }
      }
    }

    private InputStream open(String name) throws IOException {
      Path path = dir.resolve(name);
      return new BufferedInputStream(Files.newInputStream(path, LinkOption.NOFOLLOW_LINKS));
    }

    private static final Set<String> VERBS =
        Set.of("MSG", "IN", "OUT", "RENAMED", "LEFT", "BANNED", "GROUP");

    private static Event event(byte[] line, long number) throws StartException {
      try {
        String[] parts = Text.decode(line).split(" ", 4);
        boolean whole = parts.length == 4 && VERBS.contains(parts[0]);
        boolean first = number > 1 || parts[0].equals("GROUP");
        if (whole && first && parts[1].equals(String.valueOf(number))) {
          return new Event(parts[0], number, parts[3]);
        }
      } catch (CharacterCodingException wrong) {
        // answered below
      }
      throw damaged("transcript");
    }

    /** Does the events again that came after `members` was written. */
    private void applyAfter(long saved) throws IOException, StartException {
      long number = saved;
      for (long position = offset(saved + 1); position < end; ) {
        byte[] piece = piece(position, end);
        int start = 0;
        for (int i = 0; i < piece.length; i++) {
          if (piece[i] == '\n') {
            apply(event(Arrays.copyOfRange(piece, start, i), ++number));
            start = i + 1;
          }
        }
        position += piece.length;
      }
    }

    /** Returns the number of the event after which the file was written. */
    private long readMembers() throws IOException, StartException {
      Path prepared = dir.resolve("members.new");
      if (Files.exists(prepared, LinkOption.NOFOLLOW_LINKS)) {
        List<String> lines = lines("members.new");
        boolean whole = lines.size() >= 2 && lines.get(lines.size() - 1).equals(TRAILER);
        if (whole && lines.get(0).equals(HEADER + seq)) {
          replaceMembers();
        } else {
          Files.delete(prepared);
        }
      }
      if (!Files.exists(dir.resolve("members"), LinkOption.NOFOLLOW_LINKS)) {
        return 0;
      }
      return parseMembers(lines("members"));
    }

    private List<String> lines(String name) throws IOException {
      try (InputStream input = open(name)) { // hashes and ASCII names: no line holds a CR
        return new String(input.readAllBytes(), StandardCharsets.UTF_8).lines().toList();
      }
    }

    private long parseMembers(List<String> lines) throws StartException {
      int last = lines.size() - 1;
      if (last < 1 || !lines.get(0).startsWith(HEADER) || !lines.get(last).equals(TRAILER)) {
        throw damaged("members");
      }
      for (String line : lines.subList(1, last)) {
        String[] parts = line.split(":", -1);
        if (parts.length != 3 || !Text.isName(parts[0]) || group.isHeld(parts[0])) {
          throw damaged("members");
        }
        switch (parts[1]) {
          case "member" -> group.add(new Member(parts[0], checkedHash(parts[2])));
          case "banned" -> group.ban(parts[0]);
          default -> throw damaged("members");
        }
      }
      String number = lines.get(0).substring(HEADER.length());
      if (!Text.isDigits(number, 16)) {
        throw damaged("members");
      }
      return Long.parseLong(number);
    }

    private static final Pattern HASH =
        Pattern.compile("pbkdf2-sha256\\$[1-9][0-9]{0,7}\\$[\\w+/]{22}==\\$[\\w+/]{43}=");

    private static String checkedHash(String hash) throws StartException {
      if (!HASH.matcher(hash).matches()) {
        throw damaged("members");
      }
      return hash;
    }

    private void apply(Event event) throws StartException {
      String[] names = event.fields().split(" ", 2);
      boolean isMember = group.member(names[0]) != null;
      switch (event.verb()) {
        case "IN", "LEFT", "RENAMED" -> {
          if (!isMember || event.verb().equals("RENAMED") && names.length < 2) {
            throw damaged("members");
          }
          if (event.verb().equals("LEFT")) {
            group.remove(group.member(names[0]));
          } else if (event.verb().equals("RENAMED")) {
            group.rename(group.member(names[0]), names[1]);
          }
        }
        case "BANNED" -> group.ban(names[0]);
        default -> {} // MSG and OUT change nothing that lasts
      }
    }
  }

  // ---------------------------------------------------------------------------------- the owner

  /** A line that the owner typed; null if it was too long. */
  record Order(byte[] line) {}

  /**
   * Standard input and output. Both may block, so each has a thread. The loop takes orders while
   * the owner reads the answers, and drops lines about events while the owner reads nothing.
   */
  static final class Console {
    private final FileChannel input = new FileInputStream(FileDescriptor.in).getChannel();
    private final FileChannel output = new FileOutputStream(FileDescriptor.out).getChannel();
    private final BlockingQueue<Order> orders = new ArrayBlockingQueue<>(16);
    private final Runnable wakeUp;
    private ByteArrayOutputStream waiting = new ByteArrayOutputStream(); // guarded by this
    private int hidden; // lines not shown; guarded by this
    private boolean printing; // guarded by this
    private boolean closed; // nobody can read any more; guarded by this

    Console(Runnable wakeUp) {
      this.wakeUp = wakeUp;
    }

    /** Prints the first line at once; if it cannot, no program can learn the port. */
    void start(String firstLine) throws StartException {
      try {
        write(Text.encode(firstLine));
      } catch (IOException failed) {
        throw new StartException("cannot write to standard output: " + failed.getMessage());
      }
      if (!isTheJvms()) {
        inBackground("orders", this::readOrders).start();
      }
      inBackground("printer", this::print).start();
    }

    /** If standard input was closed, the JVM's own lib/modules is descriptor 0: not the owner. */
    private static boolean isTheJvms() {
      try {
        Path opened = Path.of("/proc/self/fd/0").toRealPath();
        return opened.startsWith(Path.of(System.getProperty("java.home")).toRealPath());
      } catch (IOException noFile) {
        return false; // a pipe, a socket, or a deleted file
      }
    }

    private static void pause() {
      try {
        Thread.sleep(100);
      } catch (InterruptedException nobodyInterrupts) {
        throw new IllegalStateException(nobodyInterrupts);
      }
    }

    // ----------------------------------------------------------------------------------- output

    private void write(byte[] lines) throws IOException {
      ByteBuffer rest = ByteBuffer.wrap(lines);
      while (rest.hasRemaining()) {
        if (output.write(rest) == 0) { // another program has made the terminal non-blocking
          pause();
        }
      }
    }

    private void print() {
      try {
        while (true) {
          write(nextLines());
        }
      } catch (IOException | InterruptedException ownerHasGone) {
        close();
      }
    }

    private synchronized byte[] nextLines() throws InterruptedException {
      printing = false;
      notifyAll();
      while (waiting.size() == 0) {
        wait();
      }
      byte[] lines = waiting.toByteArray();
      waiting = new ByteArrayOutputStream();
      printing = true;
      if (hidden > 0) { // after these lines, and before all that come later
        add("# " + hidden + " lines not shown");
        hidden = 0;
      }
      return lines;
    }

    private synchronized void close() {
      closed = true;
      printing = false;
      waiting.reset();
      notifyAll();
    }

    private synchronized void add(String line) {
      if (!closed) {
        waiting.writeBytes(Text.encode(line));
        notifyAll();
      }
    }

    /** Whether the owner has read enough to get another answer. */
    synchronized boolean hasRoom() {
      return waiting.size() < OWNER_BUFFER;
    }

    /** A line of an answer, which is never dropped. */
    void answer(String line) {
      add(line);
    }

    /** A line about something that happened, which is dropped while the owner does not read. */
    synchronized void tell(String line) {
      if (hasRoom()) {
        add(line);
      } else {
        hidden++;
      }
    }

    /** Waits until everything is printed, or until the deadline. */
    synchronized void drain(long deadline) {
      try {
        while (printing || waiting.size() > 0) {
          long left = (deadline - clock()) / 1_000_000;
          if (left <= 0) {
            return;
          }
          wait(left);
        }
      } catch (InterruptedException nobodyInterrupts) {
        throw new IllegalStateException(nobodyInterrupts);
      }
    }

    // ------------------------------------------------------------------------------------ input

    /** The next order, or null. */
    Order next() {
      return hasRoom() ? orders.poll() : null;
    }

    private void readOrders() {
      ByteBuffer bytes = ByteBuffer.allocate(READ_SIZE);
      ByteArrayOutputStream line = new ByteArrayOutputStream(MAX_LINE);
      try {
        for (int size = read(bytes); size >= 0; size = read(bytes)) {
          for (int i = 0; i < size; i++) {
            if (bytes.get(i) == '\n') {
              orders.put(new Order(line.size() < MAX_LINE ? withoutCr(line) : null));
              wakeUp.run();
              line.reset();
            } else if (line.size() < MAX_LINE) { // the rest of a longer line is skipped
              line.write(bytes.get(i));
            }
          }
          bytes.clear();
        }
      } catch (InterruptedException nobodyInterrupts) {
        throw new IllegalStateException(nobodyInterrupts);
      }
    }

    /** How many bytes came; -1 at the end of the input, which ends only the orders. */
    private int read(ByteBuffer bytes) {
      try {
        int size = input.read(bytes);
        if (size == 0) { // somebody made the input non-blocking, and there is nothing
          pause();
        }
        return size;
      } catch (IOException inTheBackground) { // EIO; the terminal may come back
        pause();
        return 0;
      }
    }

    private static byte[] withoutCr(ByteArrayOutputStream line) {
      byte[] bytes = line.toByteArray();
      boolean cr = bytes.length > 0 && bytes[bytes.length - 1] == '\r';
      return cr ? Arrays.copyOf(bytes, bytes.length - 1) : bytes;
    }
  }

  // -------------------------------------------------------------------------------- the clients

  /** Splits what a client sends at LF, and only there. */
  static final class Input {
    static final int TOO_LONG = -1;
    private final byte[] bytes = new byte[READ_SIZE];
    private int start;
    private int end;

    /** Reads once. Returns false at the end of file. Call it only if there is no whole line. */
    boolean read(SocketChannel channel) throws IOException {
      System.arraycopy(bytes, start, bytes, 0, end - start);
      end -= start;
      start = 0;
      int size = channel.read(ByteBuffer.wrap(bytes, end, bytes.length - end));
      end += Math.max(size, 0);
      return size >= 0;
    }

    /** Bytes of the next line, with its LF; 0 if it is not complete; TOO_LONG, even without LF. */
    int next() {
      int limit = Math.min(end, start + MAX_LINE);
      for (int i = start; i < limit; i++) {
        if (bytes[i] == '\n') {
          return i + 1 - start;
        }
      }
      return limit == start + MAX_LINE ? TOO_LONG : 0;
    }

    /** Takes a line of this size, and returns it without CR and LF. */
    byte[] take(int size) {
      int from = start;
      start += size;
      boolean cr = size > 1 && bytes[start - 2] == '\r';
      return Arrays.copyOfRange(bytes, from, start - (cr ? 2 : 1));
    }
  }

  /**
   * The bytes that wait for one client, and the judgement of section 9.8: whether the client keeps
   * reading. The lines of events are shared by all outboxes.
   */
  static final class Outbox {
    private static final long GRACE = 2 * SECOND;
    private static final long STEADY = 65536; // bytes in GRACE that show that a client reads
    private static final ByteBuffer SCRATCH = ByteBuffer.allocateDirect(PIECE); // the loop's alone

    private enum Reader {
      FREE, // nothing waits
      HOLDING, // it may delay the others
      SPENT // it has used up its time
    }

    /** What the kernel accepted, and when. */
    private record Taken(long when, long size) {}

    private final Deque<byte[]> lines = new ArrayDeque<>();
    private final Deque<Taken> taken = new ArrayDeque<>(); // in the last GRACE
    private int head; // bytes of the first line that are sent already
    private long queued; // bytes, since the connection began
    private long sent;
    private long ownEnd; // where the answer to the client's own WHO or HISTORY ends, of `queued`
    private Reader reader = Reader.FREE;
    private long since; // when bytes began to wait
    private long lastTaken;

    void add(byte[] line) {
      if (line.length > 0) {
        lines.add(line);
        queued += line.length;
      }
    }

    /** What was added last is an answer that the client must read before its next request. */
    void endOwn() {
      ownEnd = queued;
    }

    long queued() {
      return queued;
    }

    long sent() {
      return sent;
    }

    long waiting() {
      return queued - sent;
    }

    long own() {
      return Math.max(0, ownEnd - sent);
    }

    boolean isHolding() {
      return reader == Reader.HOLDING;
    }

    /** Hands the kernel what it accepts now; returns how many bytes that was. */
    long flush(SocketChannel channel) throws IOException {
      long before = sent;
      boolean accepted = true;
      while (accepted && waiting() > 0) {
        SCRATCH.clear();
        int skip = head;
        for (byte[] line : lines) {
          int size = Math.min(line.length - skip, SCRATCH.remaining());
          SCRATCH.put(line, skip, size);
          skip = 0;
          if (!SCRATCH.hasRemaining()) {
            break;
          }
        }
        SCRATCH.flip();
        remove(channel.write(SCRATCH));
        accepted = !SCRATCH.hasRemaining();
      }
      return sent - before;
    }

    private void remove(int size) {
      sent += size;
      head += size;
      while (!lines.isEmpty() && head >= lines.peek().length) {
        head -= lines.poll().length;
      }
    }

    /** Looks at the client again after a send of `size` bytes, or without one. */
    void judge(long now, long size, boolean isOver, boolean inHistory) {
      if (waiting() == 0 && !inHistory) {
        reader = Reader.FREE;
        taken.clear();
        return;
      }
      if (reader == Reader.FREE) {
        since = now;
        lastTaken = now;
      } else if (size > 0) {
        lastTaken = isOver ? lastTaken : now; // after a BYE, single bytes do not extend the time
        taken.add(new Taken(now, size));
      }
      while (!taken.isEmpty() && now - taken.peek().when() > GRACE) {
        taken.poll();
      }
      long recent = taken.stream().mapToLong(Taken::size).sum();
      reader = now - since <= GRACE || recent >= STEADY ? Reader.HOLDING : Reader.SPENT;
    }

    boolean isTooSlow(long now, Options options, boolean patienceIsOver) {
      boolean hasTooMuch = reader == Reader.SPENT && waiting() > options.outbox()
          || patienceIsOver && waiting() - own() > options.outbox();
      return reader != Reader.FREE && (hasTooMuch || now - lastTaken >= options.slowAfter());
    }
  }

  /** An answer to HISTORY that is on its way: the part of the transcript that is not sent yet. */
  static final class History {
    final long last; // the number in END HISTORY
    final long limit;
    long position;

    History(long position, long limit, long last) {
      this.position = position;
      this.limit = limit;
      this.last = last;
    }
  }

  /** One client. Only the loop touches it. */
  static final class Connection {
    final SocketChannel channel;
    final SelectionKey key;
    final String address;
    final Input input = new Input();
    final Outbox outbox = new Outbox();
    State state = State.STRANGER;
    volatile boolean gone; // over, or lost; a thread that checks passwords looks at it
    boolean eof;
    boolean isTouched; // is in Server.touched
    boolean isReady; // is in Server.ready
    long joinDeadline;
    int errors;
    int rejections;

    // While it is checked or asking.
    String joinName;
    String joinHash; // of a new member
    long joinedAt; // when the JOIN came
    boolean holdsName;
    boolean isAnnounced; // the owner was asked
    boolean isRejected; // REJECTED follows at the time that is due

    // While it is here.
    Member member;
    History history;
    long readAgain; // rationed until then

    // Silence.
    long silentSince;
    long answerEnd; // of the outbox's `queued`; until it is sent, the silence has not begun
    boolean awaitsReading = true;
    boolean wasPinged;

    // While it is over.
    boolean isShut;
    long discardUntil;

    Connection(SocketChannel channel, Selector selector) throws IOException {
      this.channel = channel;
      address = Text.address((InetSocketAddress) channel.getRemoteAddress());
      channel.configureBlocking(false);
      key = channel.register(selector, SelectionKey.OP_READ, this);
    }

    void send(String line) {
      outbox.add(Text.encode(line));
    }

    boolean isOver() {
      return state == State.OVER;
    }

    /** The client's line was handled; its silence begins when it has read the answer. */
    void answered(long now) {
      silentSince = now;
      answerEnd = outbox.queued();
      awaitsReading = true;
      wasPinged = false;
    }
  }

  /** How long slow clients have held up the others: at most 2 s in any 60. */
  static final class Patience {
    private static final long MOST = 2 * SECOND;
    private static final long WINDOW = 60 * SECOND;

    private record Period(long start, long end) {}

    private final Deque<Period> periods = new ArrayDeque<>();
    private boolean isUsed;
    private long start; // of the period that has not ended, if `isUsed`

    void begin(long now) {
      isUsed = true;
      start = now;
    }

    /** Returns how long the period was. */
    long end(long now) {
      isUsed = false;
      periods.add(new Period(start, now));
      return now - start;
    }

    boolean isOver(long now) {
      while (!periods.isEmpty() && periods.peek().end() < now - WINDOW) {
        periods.poll();
      }
      long used = isUsed ? now - start : 0;
      for (Period period : periods) {
        used += period.end() - Math.max(period.start(), now - WINDOW);
      }
      return used >= MOST;
    }
  }

  // --------------------------------------------------------------------------------- the server

  static final class Server {
    private static final long END_WITHIN = 3 * SECOND / 2; // less than the 2 s of section 12
    private static final long DISCARD = SECOND;
    private static final long ACCEPT_PAUSE = SECOND / 10;
    private static final long RATION = 65536; // bytes of events per second, when patience is over
    private static final long RATION_PAUSE = 5; // milliseconds between looks at rationed clients
    private static final ByteBuffer TRASH = ByteBuffer.allocateDirect(PIECE);

    private final Options options;
    private final Group group = new Group();
    private final Storage storage;
    private final Queue<Runnable> mail = new ConcurrentLinkedQueue<>(); // from other threads
    private final Set<Connection> connections = new LinkedHashSet<>();
    private final Set<Connection> here = new LinkedHashSet<>();
    private final Set<Connection> busy = new LinkedHashSet<>(); // something waits for them
    private final Set<Connection> rationed = new LinkedHashSet<>();
    private final Deque<Connection> touched = new ArrayDeque<>(); // to be sent to and looked at
    private final Deque<Connection> ready = new ArrayDeque<>(); // with a request, or an end of file
    private final Deque<String> owedOuts = new ArrayDeque<>(); // names whose OUT is not written yet
    private final Patience patience = new Patience();
    private Selector selector;
    private ServerSocketChannel listener;
    private SelectionKey acceptKey;
    private FileChannel spare; // a descriptor for a connection that there is no room for
    private Console console;
    private Passwords passwords;
    private boolean awaitsConsent; // the next line decides about `delete`
    private boolean isFirstOrder = true;
    private boolean isBlocked; // slow clients hold up the others
    private boolean patienceIsOver;
    private boolean isCrowded;
    private long produced; // bytes of events
    private long pings;
    private long now;
    private long nextTick;
    private long acceptAgain;
    private String ending; // the code of the last BYE, once the server is to end
    private long endDeadline;

    Server(Options options) {
      this.options = options;
      storage = new Storage(options.dir(), group);
    }

    void run() throws StartException {
      start();
      try {
        while (ending == null || !connections.isEmpty() && now < endDeadline) {
          turn();
        }
      } catch (IOException failed) { // of the selector itself: there is nothing left to serve
        throw new StartException("the selector failed: " + failed.getMessage());
      }
      console.drain(endDeadline);
    }

    private void start() throws StartException {
      passwords = new Passwords(options.hashes());
      storage.open();
      listen();
      createGroup();
      console = new Console(selector::wakeup);
      handleSignals();
      now = clock();
      console.start("listening on " + listeningOn());
    }

    private void listen() throws StartException {
      try {
        InetSocketAddress address = new InetSocketAddress(host(), options.port());
        boolean six = address.getAddress() instanceof Inet6Address;
        selector = Selector.open();
        // Without a family Java opens an IPv6 socket, and 0.0.0.0 would mean :: as well.
        listener = ServerSocketChannel.open(
            six ? StandardProtocolFamily.INET6 : StandardProtocolFamily.INET);
        listener.setOption(StandardSocketOptions.SO_REUSEADDR, true);
        listener.bind(address, 1024);
        listener.configureBlocking(false);
        acceptKey = listener.register(selector, SelectionKey.OP_ACCEPT);
        spare = FileChannel.open(Path.of("/dev/null"));
        if (!address.getAddress().isLoopbackAddress()) {
          System.err.println("nio: warning: passwords travel in clear on this network");
        }
      } catch (IOException | UnsupportedOperationException failed) {
        throw new StartException(
            "cannot listen on port " + options.port() + ": " + failed.getMessage());
      }
    }

    private InetAddress host() throws StartException {
      String host = options.host();
      try {
        if (!host.isEmpty() && !host.startsWith("[")) { // Java takes both, as loopback and as ::1
          return InetAddress.getByName(host);
        }
      } catch (UnknownHostException unknown) {
        // answered below
      }
      throw new StartException("there is no such host as that of --host");
    }

    private String listeningOn() throws StartException {
      try {
        return Text.address((InetSocketAddress) listener.getLocalAddress());
      } catch (IOException failed) {
        throw new StartException("cannot learn the port: " + failed.getMessage());
      }
    }

    private void createGroup() throws StartException {
      if (group.title != null) {
        return;
      }
      try {
        storage.append("GROUP", options.group());
        group.title = options.group();
      } catch (IOException failed) {
        throw new StartException("cannot write the transcript: " + failed.getMessage());
      }
    }

    private void handleSignals() {
      // A shutdown hook would not do: the status would be 143. The JVM leaves SIGHUP ignored if it
      // was ignored at the start, and it ignores SIGPIPE and SIGXFSZ itself.
      for (String name : List.of("TERM", "INT", "HUP")) {
        Signal.handle(new Signal(name), signal -> post(() -> end("closed")));
      }
      // In the background of its terminal a server must not stop when it reads or prints.
      for (String name : List.of("TTIN", "TTOU")) {
        Signal.handle(new Signal(name), SignalHandler.SIG_IGN);
      }
    }

    /** Called by other threads: the loop runs `task`. */
    private void post(Runnable task) {
      mail.add(task);
      selector.wakeup();
    }

    // --------------------------------------------------------------------------------- the loop

    private void turn() throws IOException {
      if (ready.isEmpty()) {
        long untilTick = Math.max(1, (nextTick - clock()) / 1_000_000);
        selector.select(this::selected, rationed.isEmpty() ? untilTick : RATION_PAUSE);
      } else {
        selector.selectNow(this::selected);
      }
      now = clock();
      Runnable task;
      while ((task = mail.poll()) != null) {
        task.run();
      }
      readConsole();
      serveReady();
      if (now >= nextTick) {
        tick();
      }
      rationed.removeIf(client -> client.readAgain <= now && touch(client));
      settleAll();
      updateCrowd();
    }

    private void selected(SelectionKey key) {
      now = clock();
      if (key == acceptKey) {
        accept();
        return;
      }
      Connection client = (Connection) key.attachment();
      if (key.isValid() && key.isReadable()) {
        receive(client);
      }
      touch(client);
    }

    /** Marks a client to be looked at by the end of this turn. */
    private boolean touch(Connection client) {
      if (!client.isTouched) {
        client.isTouched = true;
        touched.add(client);
      }
      return true;
    }

    private void tick() {
      nextTick = now + TICK;
      for (Connection client : List.copyOf(connections)) {
        watch(client);
      }
      busy.forEach(this::touch); // the kernel has room earlier than it says
      announce();
      payOuts();
      if (acceptKey.isValid() && acceptKey.interestOps() == 0 && now >= acceptAgain) {
        acceptKey.interestOps(SelectionKey.OP_ACCEPT);
      }
    }

    /** Looks at the deadlines of a client. */
    private void watch(Connection client) {
      switch (client.state) {
        case STRANGER -> {
          if (now >= client.joinDeadline) {
            bye(client, "timeout");
          }
        }
        case CHECKED -> {
          if (client.isRejected && now - client.joinedAt >= options.rejectAfter()) {
            reject(client);
          }
        }
        case ASKING, HERE -> watchSilence(client);
        case OVER -> {
          if (client.isShut && now >= client.discardUntil) {
            close(client);
          }
        }
      }
    }

    private void watchSilence(Connection client) {
      if (client.awaitsReading || isBlocked) {
        return;
      }
      long silence = now - client.silentSince;
      if (silence >= options.idleAfter()) {
        bye(client, "idle");
      } else if (silence >= options.pingAfter() && !client.wasPinged) {
        client.wasPinged = true;
        client.send("PING k" + ++pings);
        touch(client);
      }
    }

    private void settleAll() {
      Connection client;
      while ((client = touched.poll()) != null) {
        client.isTouched = false;
        if (client.channel.isOpen()) {
          settle(client);
        }
      }
    }

    /** Sends what the client takes, and decides what it may do next. */
    private void settle(Connection client) {
      Outbox outbox = client.outbox;
      try {
        long sent = outbox.flush(client.channel);
        if (client.history != null && outbox.waiting() < PIECE) {
          continueHistory(client);
          sent += outbox.flush(client.channel);
        }
        outbox.judge(now, sent, client.isOver(), client.history != null);
        if (outbox.isTooSlow(now, options, patienceIsOver)) {
          lose(client);
          return;
        }
        if (client.isOver() && outbox.waiting() == 0) {
          finish(client);
        }
      } catch (IOException reset) {
        lose(client);
        return;
      }
      if (!client.channel.isOpen()) {
        return;
      }
      boolean answerIsRead = client.history == null && outbox.sent() >= client.answerEnd;
      if (client.awaitsReading && answerIsRead) {
        client.awaitsReading = false;
        client.silentSince = now;
      }
      if (outbox.waiting() > 0 || client.history != null) {
        busy.add(client);
      } else {
        busy.remove(client);
      }
      schedule(client);
    }

    /** Puts a client with a request among the ready ones, or reads more from it. */
    private void schedule(Connection client) {
      boolean mayAct = mayAct(client);
      boolean hasRequest = client.input.next() != 0;
      if (mayAct && (hasRequest || client.eof) && !client.isReady) {
        client.isReady = true;
        ready.add(client);
      }
      boolean reads = !client.eof && (client.isOver() || mayAct && !hasRequest);
      boolean writes = client.outbox.waiting() > 0 || client.history != null;
      int interest = (reads ? SelectionKey.OP_READ : 0) | (writes ? SelectionKey.OP_WRITE : 0);
      if (client.key.interestOps() != interest) {
        client.key.interestOps(interest);
      }
    }

    /** Whether the next request of this client may be handled now. */
    private boolean mayAct(Connection client) {
      return switch (client.state) {
        case CHECKED, OVER -> false;
        case STRANGER, ASKING, HERE -> !isBlocked && client.history == null
            && client.outbox.own() == 0 && client.outbox.waiting() <= options.outbox() / 2
            && client.readAgain <= now;
      };
    }

    /** Handles requests, some of each client in turn, until there are enough events to send. */
    private void serveReady() {
      long enough = produced + EVENTS_A_TURN;
      for (int visits = ready.size(); visits > 0 && produced < enough; visits--) {
        Connection client = ready.poll();
        client.isReady = false;
        if (client.channel.isOpen()) {
          serve(client);
          touch(client);
        }
      }
    }

    private void serve(Connection client) {
      for (int i = 0; i < REQUESTS_A_VISIT && mayAct(client); i++) {
        int size = client.input.next();
        if (size == Input.TOO_LONG) {
          refuse(client, Code.TOO_LONG);
        } else if (size > 0) {
          byte[] line = client.input.take(size);
          if (line.length > 0) {
            handle(client, line);
          }
        } else {
          if (client.eof) {
            quit(client);
          }
          return;
        }
      }
    }

    /** Section 9.8: do slow clients hold up the others, and how long may they still? */
    private void updateCrowd() {
      isCrowded = busy.stream().anyMatch(this::isCrowding);
      boolean wasOver = patienceIsOver;
      patienceIsOver = patience.isOver(now);
      boolean blocks = isCrowded && !patienceIsOver;
      if (blocks && !isBlocked) {
        patience.begin(now);
      } else if (!blocks && isBlocked) {
        long unread = patience.end(now);
        for (Connection client : connections) { // nobody was heard, so nobody was silent
          client.silentSince = Math.min(now, client.silentSince + unread);
        }
      }
      if (blocks != isBlocked || wasOver != patienceIsOver) {
        isBlocked = blocks;
        connections.forEach(this::touch);
        settleAll();
      }
    }

    private boolean isCrowding(Connection client) {
      Outbox outbox = client.outbox;
      return outbox.isHolding() && !client.isOver()
          && outbox.waiting() - outbox.own() > options.outbox() / 2;
    }

    // -------------------------------------------------------------------------- the connections

    private void accept() {
      try {
        SocketChannel channel;
        while ((channel = listener.accept()) != null) {
          welcomeStranger(channel);
        }
      } catch (IOException noDescriptor) {
        turnAway();
      }
    }

    /** Closes one connection, with the descriptor that is spared for this. It need not wait. */
    private void turnAway() {
      acceptKey.interestOps(0); // again after a moment, and not in a tight loop
      acceptAgain = now + ACCEPT_PAUSE;
      try {
        if (spare != null) {
          spare.close();
          SocketChannel channel = listener.accept();
          if (channel != null) {
            channel.close();
            acceptKey.interestOps(SelectionKey.OP_ACCEPT);
          }
        }
        spare = null;
        spare = FileChannel.open(Path.of("/dev/null"));
      } catch (IOException noDescriptor) {
        // no spare one either: the next turn tries again
      }
    }

    private void welcomeStranger(SocketChannel channel) throws IOException {
      Connection client;
      try {
        channel.setOption(StandardSocketOptions.TCP_NODELAY, true);
        channel.setOption(StandardSocketOptions.SO_SNDBUF, options.sndbuf());
        client = new Connection(channel, selector);
      } catch (IOException reset) {
        channel.close();
        return;
      }
      boolean isFull = strangers() >= options.maxStrangers();
      connections.add(client);
      client.joinDeadline = now + options.joinWithin();
      if (isFull) {
        bye(client, "full");
      } else {
        client.send("HELLO grupo/1 " + group.title);
      }
      touch(client);
    }

    private long strangers() {
      return connections.stream().filter(client -> !client.isOver()).count() - here.size();
    }

    private void receive(Connection client) {
      try {
        if (client.isOver()) {
          TRASH.clear();
          client.eof = client.channel.read(TRASH) < 0;
        } else if (client.input.next() == 0) {
          client.eof = !client.input.read(client.channel);
        }
      } catch (IOException reset) {
        lose(client);
      }
    }

    /** The BYE was sent: ends the sending direction, and closes once the client has ended, too. */
    private void finish(Connection client) throws IOException {
      if (!client.isShut) {
        client.isShut = true;
        client.discardUntil = now + DISCARD;
        client.channel.shutdownOutput();
      }
      if (client.eof) {
        close(client);
      }
    }

    private void close(Connection client) {
      client.gone = true;
      connections.remove(client);
      busy.remove(client);
      rationed.remove(client);
      try {
        client.channel.close();
      } catch (IOException ignored) {
        // the descriptor is free all the same
      }
    }

    /** The connection ends without a BYE. */
    private void lose(Connection client) {
      Member member = depart(client);
      client.state = State.OVER;
      close(client);
      if (member != null) {
        owe(member);
      }
    }

    private void bye(Connection client, String code) {
      Member member = depart(client);
      client.send("BYE " + code);
      client.state = State.OVER;
      touch(client);
      if (member != null) {
        owe(member);
      }
    }

    private void quit(Connection client) {
      bye(client, "quit");
    }

    /** The client is no longer here, nor a stranger. Returns the member that it was, or null. */
    private Member depart(Connection client) {
      Member member = client.member;
      release(client);
      client.gone = true;
      client.history = null;
      client.member = null;
      here.remove(client);
      if (member != null) {
        member.connection = null;
      }
      return member;
    }

    /** The client's JOIN is over, and its name is no longer held for it. */
    private void release(Connection client) {
      if (client.holdsName) {
        group.requests.remove(Text.fold(client.joinName));
      }
      client.holdsName = false;
      client.isAnnounced = false;
      client.isRejected = false;
      client.joinHash = null;
    }

    // ----------------------------------------------------------------------------------- events

    private void owe(Member member) {
      owedOuts.add(member.name);
      payOuts();
    }

    /** Writes the OUTs that could not be written yet, as far as that is possible. */
    private void payOuts() {
      try {
        while (!owedOuts.isEmpty()) {
          byte[] line = storage.append("OUT", owedOuts.peek());
          String name = owedOuts.poll();
          deliver(line);
          console.tell("* " + name + " went");
        }
      } catch (IOException diskIsFull) {
        // the next event, or the next tick, tries again
      }
    }

    /** Writes an event and sends it to all who are here. */
    private void publish(String verb, String fields) throws IOException {
      payOutsFirst();
      deliver(storage.append(verb, fields));
    }

    private void payOutsFirst() throws IOException {
      payOuts();
      if (!owedOuts.isEmpty()) {
        throw new IOException("an earlier event is not written yet");
      }
    }

    private void deliver(byte[] line) {
      produced += line.length;
      for (Connection client : here) {
        client.outbox.add(line);
        touch(client);
      }
    }

    // --------------------------------------------------------------------------------- requests

    private void handle(Connection client, byte[] line) {
      long before = produced;
      try {
        handle(client, checked(line));
      } catch (RefusedException refused) {
        refuse(client, refused.code);
      } catch (IOException notWritten) {
        refuse(client, Code.NOT_SAVED);
      }
      client.answered(now);
      if (isCrowded && patienceIsOver && produced > before) {
        client.readAgain = now + (produced - before) * SECOND / RATION;
        rationed.add(client);
      }
    }

    private static String checked(byte[] line) throws RefusedException {
      String text;
      try {
        text = Text.decode(line);
      } catch (CharacterCodingException wrong) {
        throw new RefusedException(Code.BAD_UTF8);
      }
      if (!Text.isText(text)) {
        throw new RefusedException(Code.BAD_TEXT);
      }
      return text;
    }

    private void refuse(Connection client, Code code) {
      client.send("ERR " + code.onTheWire() + " " + code.words);
      boolean isMember = client.state == State.HERE;
      if (code == Code.TOO_LONG || !isMember && ++client.errors == MAX_ERRORS) {
        bye(client, "protocol");
      }
      touch(client);
    }

    /** `rest` is what follows the verb and one space: null if there is not even the space. */
    private void handle(Connection client, String line) throws RefusedException, IOException {
      int space = line.indexOf(' ');
      Verb verb = Verb.of(space < 0 ? line : line.substring(0, space));
      String rest = space < 0 ? null : line.substring(space + 1);
      if (verb.needsMembership() && client.state != State.HERE) {
        throw new RefusedException(Code.NOT_JOINED);
      }
      if (verb == Verb.JOIN && client.state != State.STRANGER) {
        throw new RefusedException(Code.ALREADY_JOINED);
      }
      switch (verb) {
        case JOIN -> join(client, rest);
        case SAY -> say(client, rest);
        case NAME -> rename(client, rest);
        case WHO -> {
          require(rest == null);
          who(client);
        }
        case HISTORY -> history(client, rest);
        case LEAVE -> {
          require(rest == null);
          leave(client);
        }
        case QUIT -> {
          require(rest == null);
          quit(client);
        }
        case PING -> {
          require(rest != null && Text.isToken(rest));
          client.send("PONG " + rest);
        }
        case PONG -> require(rest != null && Text.isToken(rest));
      }
    }

    private static void require(boolean argumentsAreGood) throws RefusedException {
      if (!argumentsAreGood) {
        throw new RefusedException(Code.BAD_ARGUMENTS);
      }
    }

    private void say(Connection client, String text) throws RefusedException, IOException {
      require(text != null && !text.isEmpty() && Text.bytes(text) <= MAX_TEXT);
      publish("MSG", client.member.name + " " + text);
      console.tell("<" + client.member.name + "> " + Text.shown(text));
    }

    private void rename(Connection client, String name) throws RefusedException, IOException {
      require(name != null && !name.isEmpty() && name.indexOf(' ') < 0);
      Member member = client.member;
      if (!Text.isName(name)) {
        throw new RefusedException(Code.BAD_NAME);
      }
      if (group.isHeld(name) && group.member(name) != member) {
        throw new RefusedException(Code.NAME_TAKEN);
      }
      String old = member.name;
      publish("RENAMED", old + " " + name);
      group.rename(member, name);
      console.tell("# " + old + " is now " + name);
    }

    private void who(Connection client) {
      StringBuilder answer = new StringBuilder();
      for (Member member : group.members.values()) {
        answer.append("MEMBER ").append(member.name).append(whereabouts(member)).append('\n');
      }
      client.send(answer + "END WHO");
      client.outbox.endOwn();
    }

    private static String whereabouts(Member member) {
      return member.connection == null ? " away" : " here";
    }

    private void history(Connection client, String since) throws RefusedException, IOException {
      require(since != null && Text.isDigits(since, 16));
      long start = storage.offset(Long.parseLong(since) + 1);
      client.history = new History(start, storage.end(), storage.seq());
    }

    /** Adds the next piece of the answer; the client has taken most of the last one. */
    private void continueHistory(Connection client) throws IOException {
      History history = client.history;
      if (history.position < history.limit) {
        byte[] piece = storage.piece(history.position, history.limit);
        history.position += piece.length;
        client.outbox.add(piece);
      }
      if (history.position == history.limit) {
        client.send("END HISTORY " + history.last);
        client.history = null;
        client.answerEnd = client.outbox.queued();
      }
      client.outbox.endOwn();
    }

    private void leave(Connection client) throws IOException {
      Member member = client.member;
      publish("LEFT", member.name);
      group.remove(member);
      depart(client);
      bye(client, "left");
      console.tell("* " + member.name + " left");
    }

    // ---------------------------------------------------------------------------------- joining

    private void join(Connection client, String rest) throws RefusedException {
      int space = rest == null ? -1 : rest.indexOf(' ');
      require(space > 0);
      String name = rest.substring(0, space);
      String password = rest.substring(space + 1);
      require(!password.isEmpty() && Text.bytes(password) <= MAX_PASSWORD);
      if (!Text.isName(name)) {
        throw new RefusedException(Code.BAD_NAME);
      }
      client.send("PENDING");
      client.state = State.CHECKED;
      client.joinName = name;
      client.joinedAt = now;
      Member member = group.member(name);
      String folded = Text.fold(name);
      boolean isFree = member == null && !group.requests.containsKey(folded);
      boolean canBeNew = isFree && options.admit() != Admit.NONE;
      if (canBeNew) { // a banned name, too: the ban may end before the check does
        group.requests.put(folded, client);
        client.holdsName = true;
      }
      passwords.check(client, new Attempt(name, password, member, canBeNew),
          outcome -> post(() -> decide(client, outcome)));
    }

    /** The password was checked. What counts is the group as it is now. */
    private void decide(Connection client, Outcome outcome) {
      if (client.state != State.CHECKED) {
        return; // it has gone meanwhile
      }
      try {
        if (outcome instanceof Known known && group.member(client.joinName) == known.member()) {
          enter(client, known.member());
        } else if (outcome instanceof Fresh fresh && !group.isBanned(client.joinName)) {
          client.joinHash = fresh.hash();
          decideNew(client);
        } else {
          rejectInTime(client);
        }
      } catch (IOException notWritten) {
        becomeStranger(client);
        refuse(client, Code.NOT_SAVED);
      }
      client.answered(now);
      touch(client);
    }

    private void decideNew(Connection client) throws IOException {
      if (options.admit() == Admit.ALL) {
        admit(client);
      } else if (asking() >= MAX_ASKING) {
        rejectInTime(client);
      } else {
        client.state = State.ASKING;
        announce();
      }
    }

    private long asking() {
      return group.requests.values().stream().filter(c -> c.state == State.ASKING).count();
    }

    /** Asks the owner about those whom the owner does not know of yet, while there is room. */
    private void announce() {
      for (Connection client : group.requests.values()) {
        if (client.state == State.ASKING && !client.isAnnounced && console.hasRoom()) {
          console.answer(client.joinName + " asks to join from " + client.address);
          client.isAnnounced = true;
        }
      }
    }

    /** A new member. If it throws, nothing has changed. */
    private void admit(Connection client) throws IOException {
      Member member = new Member(client.joinName, client.joinHash);
      group.add(member);
      try {
        if (here.size() >= options.maxHere()) {
          storage.saveMembers();
          bye(client, "full");
        } else {
          payOutsFirst();
          byte[] line = storage.appendWithMembers("IN", member.name);
          welcome(client, member, storage.seq() - 1);
          deliver(line);
          console.tell("* " + member.name + " came");
        }
      } catch (IOException failed) {
        group.remove(member);
        throw failed;
      }
    }

    /** A member with the right password. */
    private void enter(Connection client, Member member) throws IOException {
      if (member.connection != null) {
        Connection old = member.connection;
        depart(old);
        bye(old, "replaced");
        welcome(client, member, storage.seq());
      } else if (here.size() >= options.maxHere()) {
        bye(client, "full");
      } else {
        payOutsFirst();
        byte[] line = storage.append("IN", member.name);
        welcome(client, member, storage.seq() - 1);
        deliver(line);
        console.tell("* " + member.name + " came");
      }
    }

    private void welcome(Connection client, Member member, long seq) {
      release(client);
      client.state = State.HERE;
      client.member = member;
      member.connection = client;
      here.add(client);
      client.send("WELCOME " + seq + " " + member.name);
      touch(client);
    }

    /** REJECTED, --reject-after after the JOIN or later. Until then the client is not read. */
    private void rejectInTime(Connection client) {
      release(client);
      client.state = State.CHECKED;
      client.isRejected = true;
      watch(client);
    }

    private void reject(Connection client) {
      client.send("REJECTED refused");
      becomeStranger(client);
      if (++client.rejections == MAX_REJECTED) {
        bye(client, "refused");
      }
      touch(client);
    }

    /** After a JOIN that failed. The time of that JOIN does not count towards --join-within. */
    private void becomeStranger(Connection client) {
      release(client);
      client.state = State.STRANGER;
      client.joinDeadline += now - client.joinedAt;
    }

    // ----------------------------------------------------------------------- the owner's orders

    private void readConsole() {
      Order order;
      while (ending == null && (order = console.next()) != null) {
        answer(order);
      }
    }

    private void answer(Order order) {
      String ends = null;
      try {
        boolean isConsent = awaitsConsent;
        awaitsConsent = false;
        String line = isConsent ? null : orderLine(order);
        if (isConsent) {
          ends = consent(order);
        } else if (line.isEmpty()) {
          return;
        } else if (line.equals("delete")) {
          awaitsConsent = true;
          console.answer("type the group's name to delete it");
          return;
        } else if (line.equals("close")) {
          ends = "closed";
        } else {
          carryOut(line);
        }
        console.answer("ok");
      } catch (OrderException wrong) {
        console.answer("error: " + wrong.getMessage());
      } catch (IOException notWritten) {
        console.answer("error: the change cannot be saved");
      }
      if (ends != null) {
        end(ends);
      }
    }

    private String orderLine(Order order) throws OrderException {
      if (order.line() == null) {
        throw new OrderException("the line is too long");
      }
      try {
        String line = Text.decode(order.line());
        boolean isFirst = isFirstOrder;
        isFirstOrder = false;
        line = isFirst && line.startsWith("\ufeff") ? line.substring(1) : line;
        if (!Text.isText(line)) {
          throw new OrderException("the line has a control character");
        }
        return line;
      } catch (CharacterCodingException wrong) {
        throw new OrderException("the line is not UTF-8");
      }
    }

    private String consent(Order order) throws OrderException, IOException {
      byte[] title = group.title.getBytes(StandardCharsets.UTF_8);
      if (order.line() == null || !Arrays.equals(order.line(), title)) {
        throw new OrderException("not deleted");
      }
      storage.delete();
      return "deleted";
    }

    private void carryOut(String line) throws OrderException, IOException {
      int space = line.indexOf(' ');
      String rest = space < 0 ? "" : line.substring(space + 1);
      switch (space < 0 ? line : line.substring(0, space + 1)) {
        case "accept " -> admit(asker(rest));
        case "reject " -> rejectInTime(asker(rest));
        case "ban " -> ban(rest);
        case "unban " -> unban(rest);
        case "rename " -> renameGroup(rest);
        case "members" -> listMembers();
        case "help" -> help();
        default -> throw new OrderException("there is no such order; try help");
      }
    }

    private Connection asker(String name) throws OrderException {
      Connection client = group.requests.get(Text.fold(name));
      if (client == null || client.state != State.ASKING || !client.isAnnounced) {
        throw new OrderException("nobody asks with this name");
      }
      return client;
    }

    private void ban(String name) throws OrderException, IOException {
      if (!Text.isName(name)) {
        throw new OrderException("this is not a name");
      }
      if (group.isBanned(name)) {
        throw new OrderException("this name is banned already");
      }
      Member member = group.member(name);
      String shown = member == null ? name : member.name;
      publish("BANNED", shown);
      group.ban(shown);
      Connection asking = group.requests.get(Text.fold(name));
      if (asking != null && asking.state == State.ASKING) {
        rejectInTime(asking);
      }
      if (member != null && member.connection != null) {
        Connection client = member.connection;
        depart(client);
        bye(client, "banned");
      }
      console.tell("# " + shown + " is banned");
    }

    private void unban(String name) throws OrderException, IOException {
      String shown = group.banned.remove(Text.fold(name));
      if (shown == null) {
        throw new OrderException("this name is not banned");
      }
      try {
        storage.saveMembers(); // there is no event that tells of it
      } catch (IOException failed) {
        group.ban(shown);
        throw failed;
      }
    }

    private void renameGroup(String title) throws OrderException, IOException {
      if (!Text.isGroup(title)) {
        throw new OrderException("this is not a name for a group");
      }
      publish("GROUP", title);
      group.title = title;
    }

    private void listMembers() {
      for (Member member : group.members.values()) {
        console.answer("member " + member.name + whereabouts(member));
      }
      for (String name : group.banned.values()) {
        console.answer("member " + name + " banned");
      }
      Collection<Connection> requests = group.requests.values();
      for (Connection client : requests) {
        if (client.state == State.ASKING && client.isAnnounced) {
          console.answer("member " + client.joinName + " asks from " + client.address);
        }
      }
    }

    private void help() {
      console.answer("# accept NAME, reject NAME: answers a client that asks to join");
      console.answer("# ban NAME, unban NAME: removes a member and holds the name; frees it");
      console.answer("# rename GROUP: gives the group a new name");
      console.answer("# members: lists members, banned names, and clients that ask");
      console.answer("# close, delete: ends the server; deletes the group");
    }

    /** Sends the last BYE to all; the loop ends when they have read it, or at the deadline. */
    private void end(String code) {
      if (ending != null) {
        return;
      }
      ending = code;
      endDeadline = now + END_WITHIN;
      try {
        listener.close();
      } catch (IOException ignored) {
        // the process ends soon
      }
      for (Connection client : List.copyOf(connections)) {
        if (!client.isOver()) {
          depart(client);
          bye(client, code);
        }
      }
    }
  }
}
