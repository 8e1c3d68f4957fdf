//! Every bound of the system, with its unit and its reason.
//!
//! A bound exists so that a stranger, a bug or a crowd cannot make a process
//! grow, wait or work without end. Where two ends must agree on one, both
//! import it from here.

use std::time::Duration;

/// Bytes in a kibibyte, a mebibyte, a gibibyte: the units of the bounds below.
pub const KIB: u64 = 1 << 10;
/// Bytes in a mebibyte.
pub const MIB: u64 = 1 << 20;
/// Bytes in a gibibyte.
pub const GIB: u64 = 1 << 30;

// Content ------------------------------------------------------------------

/// Smallest chunk, in bytes. A power of two of at least 1 KiB, so that a chunk
/// is a whole subtree of BLAKE3; small enough to stay in the cache of one core
/// from its arrival until it is hashed and written, and to be passed on soon by
/// a node that still downloads; large enough that its hash and its place in
/// every list cost little beside its bytes.
pub const MIN_CHUNK: u64 = 256 * KIB;

/// Most chunks of a file. Bounds a manifest to 512 KiB of hashes.
pub const MAX_CHUNKS: u32 = 1 << 14;

/// Bytes asked for in one request unless the person says otherwise: enough that
/// a request costs nothing beside its bytes, whatever the chunk size.
pub const REQUEST_SIZE: u64 = MIB;

/// Smallest and largest request size that can be chosen, in bytes.
pub const REQUEST_SIZES: (u64, u64) = (64 * KIB, 16 * MIB);

/// Largest chunk, in bytes. A downloader holds one chunk in memory for each
/// owner until the chunk is verified, so this bounds its memory.
pub const MAX_CHUNK: u64 = 64 * MIB;

/// Largest file that is shared, in bytes: what [`MAX_CHUNKS`] of
/// [`MAX_CHUNK`] cover (1 TiB).
pub const MAX_FILE: u64 = (MAX_CHUNKS as u64) * MAX_CHUNK;

// Names --------------------------------------------------------------------

/// Longest component of a shared name, in bytes: `NAME_MAX` of Linux and the
/// usual file systems.
pub const MAX_COMPONENT: usize = 255;

/// Longest shared name, in bytes: well below `PATH_MAX` (4096), so that the
/// folder in front of it always fits too.
pub const MAX_NAME: usize = 1024;

/// Longest extension of a file name, in bytes, the dot included: one that is
/// kept whole where a name is shortened. What is longer is no extension but a
/// dot in a name.
pub const MAX_EXTENSION: usize = 32;

/// Deepest shared name, in components: bounds recursion over folders.
pub const MAX_DEPTH: usize = 32;

/// Longest node name, in characters: that of a DNS label, so that a host name
/// always fits.
pub const MAX_NODE_NAME: usize = 63;

/// Longest search pattern, in bytes: a shared name and a few wildcards.
pub const MAX_PATTERN: usize = MAX_NAME + 64;

// Frames -------------------------------------------------------------------

/// Largest frame of a request or a greeting, in bytes. The largest request is
/// a list of ranges, some 30 bytes each.
pub const MAX_REQUEST_FRAME: usize = 16 * 1024;

// Largest frames of the replies of each conversation, in bytes. Each its own: a
// message that is read takes a multiple of its frame in memory, and a peer that
// is asked may send the worst one.

/// Largest frame of a reply to a search: [`MAX_MATCHES`] of the longest name
/// each, with size, id and the names of fields in no more than 128 bytes; the
/// rest of the message takes no more than one of them does.
pub const MAX_SEARCH_FRAME: usize = MAX_MATCHES * (MAX_NAME + 128) + 128;

/// Largest frame of the answers of several nodes to a search that was passed on:
/// [`MAX_MATCHES`] of the longest name as before, each of another node, which takes
/// no more than 320 bytes, and [`MAX_SILENT`] names.
pub const MAX_GATHER_FRAME: usize =
    MAX_MATCHES * (MAX_NAME + 128 + 320) + MAX_SILENT * (MAX_NODE_NAME + 2) + 128;

/// Largest frame of a reply about content: a manifest, a hash of 32 bytes for
/// each chunk, the proof of its size (a block of 1 KiB and at most 16 hashes), and
/// the rest in no more than 256 bytes. The raw bytes that may follow a reply are
/// in no frame.
pub const MAX_TRANSFER_FRAME: usize = (MAX_CHUNKS as usize + 16) * 32 + 1024 + 256;

/// Largest frame of a tracker: [`PAGE`] nodes, or [`MAX_NEWS`] changes, at no
/// more than 288 bytes each (the longest name, two IPv6 addresses, a join number),
/// and the rest of the message, a council among it, in no more than a few of them
/// takes. It does not grow with the network.
pub const MAX_TRACKER_FRAME: usize = (PAGE + COUNCIL + 2) * 288;

/// Largest frame about peers: [`MAX_PEERS`] nodes at no more than 384 bytes each,
/// as in [`MAX_TRACKER_FRAME`] with times and names of fields, [`MAX_DIGESTS`]
/// numbers at 4, and the rest in no more than one of them takes.
pub const MAX_PEERS_FRAME: usize = (MAX_PEERS + 1) * 384 + MAX_DIGESTS * 4;

/// Bytes read at once from a connection while it is not known how many are
/// wanted: a hundred small requests. A stranger's connection holds no more of
/// what was not asked for than this.
pub const READ_AHEAD: usize = 16 * 1024;

/// Most bytes of a message read at once: beyond it a system call costs nothing beside
/// its bytes. They pass through the stack.
pub const MAX_READ: usize = 64 * 1024;

/// Deepest nesting of lists and maps in a message. The deepest has 5 (a peer in
/// a change in a list in the news of an update); beyond that there is room for
/// new fields. A reader recurses as deep, so without a bound a frame of `[[[[…`
/// exhausts its stack.
pub const MAX_NESTING: usize = 16;

/// Most ranges in one request for chunks.
pub const MAX_RANGES: usize = 64;

/// Most matches in one answer to a search; the answer says that it was cut.
pub const MAX_MATCHES: usize = 1000;

/// Most names of nodes without an answer in what a search brought that was passed
/// on; it says how many there are.
pub const MAX_SILENT: usize = 64;

/// How often a search is passed on at most: four times reach any
/// [`MAX_NODES`] that know each other, and two more newcomers who do not yet.
pub const MAX_HOPS: u8 = 6;

/// Most files and folders in one page of a listing; the next page begins behind
/// the last of them. As many as fit into [`MAX_SEARCH_FRAME`] with the shortest
/// names, so that a large tree takes few round trips.
pub const MAX_ENTRIES: usize = MAX_SEARCH_FRAME / 128;

/// Fewest files and folders in a page of a listing that is not its last: so
/// many fit with the longest names. A peer can't draw a listing out with short
/// pages.
pub const MIN_ENTRIES: usize = MAX_SEARCH_FRAME / (MAX_NAME + 128) - 1;

/// Most files and folders that are listed for one download, and that one peer
/// may list: some 200 bytes each in memory, and more than people keep below one
/// folder.
pub const MAX_TREE: usize = 1_000_000;

/// Most bytes that the entries of one listing take in memory: [`MAX_TREE`] of
/// them with names of some 100 bytes. Peers that list names of the greatest
/// length, or each another content under every name, reach it sooner.
pub const MAX_TREE_MEMORY: usize = 256 << 20;

/// Most nodes that a tracker keeps, and that a node knows: 20,000 and room. Some
/// 200 bytes each at a node.
pub const MAX_NODES: usize = 32_768;

/// Most other nodes that a newcomer is told of at once (some 8 KiB). Half of them
/// follow it in the order of ids, so that each node knows the next ones to itself
/// from the beginning; the others are spread over all. Who wants everyone turns
/// [pages](PAGE).
pub const SAMPLE: usize = 64;

/// Most nodes in a page of the list of all, and fewest if it is not the last:
/// some 30 KiB. 20,000 nodes are 79 pages.
pub const PAGE: usize = 256;

/// Most changes that a tracker tells in one message, and in one turn: what one page
/// takes. What is beyond is told in the next turns, as far as it is
/// [remembered](CHANGE_LOG).
pub const MAX_NEWS: usize = PAGE;

/// Members of the council, which decides on the tracker: those longest in the
/// network. So few that a network of thousands decides as fast as a small one; so
/// many that three may fail at once.
pub const COUNCIL: usize = 7;

/// Most nodes in one page that a node tells another. Whoever asks reads no more
/// than a page at once, and a network of hundreds is told in one round trip.
pub const MAX_PEERS: usize = 256;

/// Most digests of what a node knows: so many that of [`MAX_NODES`] each stands
/// for ten, and as few as fit into a request.
pub const MAX_DIGESTS: usize = 1024;

// Time ---------------------------------------------------------------------

/// Interval of heartbeats unless the tracker is told another.
pub const HEARTBEAT: Duration = Duration::from_secs(10);

/// Shortest and longest interval of heartbeats that a tracker may be told.
/// Shorter, and the delays of a busy machine pass for absence; longer, and a tracker
/// that is cut off or was a false one keeps its nodes waiting.
pub const HEARTBEATS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(60));

/// Shortest interval of heartbeats of a tracker that was not told one but has it from the
/// tracker before it, which may have been a false one: at this one 20,000 nodes are no
/// great load.
pub const LEAST_INHERITED_HEARTBEAT: Duration = Duration::from_secs(1);

/// How often a node asks another one, drawn by lot, for the peers that it knows,
/// unless told another interval.
pub const EXCHANGE: Duration = Duration::from_secs(5);

/// Shortest and longest interval of exchange that a node may be told. Shorter,
/// and the delays of a busy machine pass for absence; longer, and nobody waits
/// for the news.
pub const EXCHANGES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(3600));

/// How long a node that is gone is looked for. Who comes back later says so
/// itself.
pub const FORGET: Duration = Duration::from_secs(24 * 3600);

/// Least and greatest time between two pushes of a tracker to one node, so that a
/// crowd that joins at once costs each node a few messages instead of one a head.
/// The least is far below what a person notices, and the least time between two
/// registrations on one connection: who wants them faster is hung up. The greatest leaves a tenth of the second in which everyone is to know.
pub const PUSH_PAUSES: (Duration, Duration) =
    (Duration::from_millis(50), Duration::from_millis(900));

/// How much longer the pause between two pushes is for each node: some 10,000
/// messages a second, until there are so many nodes that the greatest pause is
/// reached. A message takes a tenth of it, most of that in the kernel.
pub const PUSH_PAUSE_EACH: Duration = Duration::from_micros(100);

/// Nodes are told what changed in so many groups, one after the other within each
/// pause: so nobody waits until thousands of others are told.
pub const PUSH_GROUPS: usize = 16;

/// Most pages that a tracker gives a second, to all nodes together: some 3 MB, and
/// a hundredth of a core. Who turns pages is told when to ask for the next one.
pub const PAGES_A_SECOND: u32 = 100;

/// Least time between two messages on one connection about the chunks that are
/// here: small beside the time that a chunk takes on a link of 100 Mbit/s (21
/// ms), so that it is soon passed on; so large that an owner whose chunks come at
/// thousands a second does not spend its time with telling.
pub const HAVE_PAUSE: Duration = Duration::from_millis(25);

/// From the start of a TCP connection to its being open.
pub const CONNECT_DEADLINE: Duration = Duration::from_secs(3);

/// From the acceptance of a connection to the end of its greeting. Short: it
/// is what an idle stranger can hold a slot for.
pub const HELLO_DEADLINE: Duration = Duration::from_secs(5);

/// From the first byte of a frame to its last, either way. A byte a second
/// does not pass.
pub const FRAME_DEADLINE: Duration = Duration::from_secs(10);

/// From a request to the start of its reply.
pub const REPLY_DEADLINE: Duration = Duration::from_secs(10);

/// How long a greeted connection to a node may rest between two requests.
pub const IDLE_DEADLINE: Duration = Duration::from_secs(60);

/// How long a search waits for silent peers.
pub const SEARCH_DEADLINE: Duration = Duration::from_secs(1);

/// How long one page of a listing may take: some milliseconds of work, on a
/// machine that may be busy.
pub const PAGE_DEADLINE: Duration = Duration::from_secs(5);

/// How long one peer may take to list a tree: [`MAX_TREE`] entries at less than
/// 2 MB/s. What it listed until then counts.
pub const LISTING_DEADLINE: Duration = Duration::from_secs(60);

/// How long a bulk transfer may stand still in either direction.
pub const STALL_DEADLINE: Duration = Duration::from_secs(10);

/// Least mean rate of a bulk transfer, bytes a second, over one
/// [`STALL_DEADLINE`]. Slower is not told apart from a stall: it would hold
/// its slot for days.
pub const MIN_RATE: u64 = KIB;

/// Least limit on the rate of transfers that a person may set, in bytes a second:
/// so far above [`MIN_RATE`] that a few who share it do not look like a stall.
pub const LEAST_LIMIT: u64 = 10_000;

/// How long running transfers are waited for on leaving, unless told another.
pub const GRACE: Duration = Duration::from_secs(30);

/// First and longest pause between two attempts to reach the tracker. The
/// longest is below half of the default heartbeat, so that a restarted tracker
/// has its network again within one heartbeat.
pub const RECONNECT_PAUSE: (Duration, Duration) =
    (Duration::from_millis(100), Duration::from_secs(4));

/// Most events a second, one caused by the other, that a network could ever have
/// had: a message over the fastest link takes microseconds. Lamport times that
/// would need more are not believed.
pub const MAX_EVENT_RATE: u64 = 1_000_000;

/// How far the wall clocks of honest machines may be apart: an hour of daylight
/// saving, a time zone, a clock that was set by hand.
pub const CLOCK_SKEW: Duration = Duration::from_secs(24 * 3600);

// Counts -------------------------------------------------------------------

/// Most connections that one port of a node serves at once, beside those of the
/// nodes whose tracker it is. Further ones wait in the kernel's queue. Above the
/// thousands of idle strangers a port must withstand; fewer where the descriptors
/// of the process do not suffice.
pub const MAX_NODE_CONNECTIONS: usize = 4096;

/// Most connections of a tracker that last: two for each node, of which one is for
/// the chat, and room for those whose last one is not known to be broken yet.
/// Fewer where the descriptors of the process do not suffice; further ones are
/// refused as busy.
pub const MAX_TRACKER_GUESTS: usize = 2 * MAX_NODES + 2048;

/// Most connections of a tracker: of those that last, of strangers, and for
/// inquiries.
pub const MAX_TRACKER_CONNECTIONS: usize = MAX_TRACKER_GUESTS + 2048;

/// Connections of a tracker that are kept for short talks: inquiries must be
/// answered however many nodes there are, and each takes a moment.
pub const SHORT_TALKS: usize = 32;

/// Changes that a tracker remembers, some 200 bytes each: what it tells in 16 turns,
/// a quarter of a minute. A node that is further behind turns the pages, of which
/// there are 79 where there are 20,000 nodes.
pub const CHANGE_LOG: usize = 16 * MAX_NEWS;

/// Most changes in a message of a tracker that is encoded for one node alone;
/// longer ones are shared by all. Any number of sessions may be sending one, at
/// most 16 KiB, to somebody who is slow to read.
pub const SMALL_NEWS: u64 = 64;

/// How long a tracker may take to send a page: 16 KB/s. Who reads it more slowly is
/// hung up.
pub const LIST_DEADLINE: Duration = Duration::from_secs(5);

/// Most pages that a tracker is sending at once. Each takes up to
/// [`MAX_TRACKER_FRAME`] for as long as the other side is slow to read it, so this
/// bounds the tracker's memory, at 40 MB. It is as many as are given within
/// [`LIST_DEADLINE`], so those who read slowly keep none from who does not.
pub const MAX_LISTS: usize = 512;

/// Most searches that a node passes on at once, until their answers are sent. For
/// more it answers for itself alone, and another node is asked for its part.
pub const MAX_GATHERS: usize = 16;

/// Most answers longer than [`READ_AHEAD`] that a node receives at once for all the
/// searches that it passes on. Each takes up to [`MAX_GATHER_FRAME`], and a multiple
/// of it while it is read, so this bounds the memory that strangers can make a node
/// use: some 50 MB in frames.
pub const MAX_GATHER_ANSWERS: usize = 32;

/// Most requests for bytes that a node serves at once; beyond it a request is
/// refused as busy and the peer tries again.
pub const MAX_UPLOADS: usize = 64;

/// Most owners that one download fetches from at once. Two to four connections
/// fill a link; more only help when most of them are slow.
pub const MAX_OWNERS: usize = 32;

/// Most other downloaders that one is told of by an owner: each will be told of
/// others by those.
pub const MAX_FELLOWS: usize = 64;

/// Most contents that one connection follows with
/// [`Have`](crate::protocol::transfer::TransferRequest::Have); the one that was
/// asked for longest ago is dropped for the next. A downloader follows one for
/// each connection, unless it fetches a tree of large files.
pub const MAX_FOLLOWED: usize = 16;

/// Most bytes that one owner is asked for ahead of its answers: what is on the
/// way over a round trip of 50 ms at 2.5 GB/s, or of 200 ms at 640 MB/s. All of it
/// has to be asked of others again when the owner fails; it takes no memory
/// before it comes.
pub const MAX_AHEAD: u64 = 128 * MIB;

/// Most chunks and manifests that one owner is asked for ahead of its answers,
/// however small they are: [`MAX_AHEAD`] of the smallest chunks, and over a round
/// trip of 50 ms 10,000 small files a second.
pub const MAX_ASKS: usize = 512;

/// Most downloads that run at once in a node.
pub const MAX_DOWNLOADS: usize = 64;

/// Most downloads of a node that are not over; those that can't run yet are
/// queued. Each change of one writes the list of all to the disk: at most some
/// 1.4 MB. Who wants thousands of files names their folder.
pub const MAX_JOBS: usize = 1000;

/// Size of one log file, in bytes, and number of files kept, the current one
/// included.
pub const LOG_FILES: (u64, usize) = (8 * MIB, 5);

// Chat ----------------------------------------------------------------------

/// Longest message of a person, in bytes: some screens full.
pub const MAX_TEXT: usize = 2048;

/// Longest topic of a room, in bytes: a line or two.
pub const MAX_TOPIC: usize = 256;

/// Longest name of a room, in bytes: short enough to be typed.
pub const MAX_ROOM_NAME: usize = 32;

/// Shortest beginning of a node's id by which people name it, in digits: that which is
/// shown.
pub const SHORTEST_ID: usize = 8;

/// Most members of a room but for the lobby, and most that are invited or banned.
/// Together with [`MAX_ROOMS`] it bounds what a tracker hands on to the next.
pub const MAX_ROOM_MEMBERS: usize = 256;

/// Most rooms beside the lobby.
pub const MAX_ROOMS: usize = 128;

/// Most rooms that one is in at once.
pub const MAX_ROOMS_OF_ONE: usize = 32;

/// Most authors whose last message is remembered, so that it counts once; more
/// than there are nodes.
pub const MAX_AUTHORS: usize = 32_768;

/// Most entries of the chat's log that are kept: who was away for longer misses
/// what came before. Two and a half minutes of 200 messages a second, a year of
/// what people type.
pub const KEPT_ENTRIES: usize = 32_768;

/// Most bytes of the entries that are kept.
pub const KEPT_BYTES: usize = 16 * 1024 * 1024;

/// Most entries of the log that are not committed yet; what comes beyond them waits
/// at its author. Some megabytes at most.
pub const MAX_TAIL: u64 = 4096;

/// Most entries that a replica has behind what is known to be committed: those that
/// are kept, and twice what a proposer may leave uncommitted, as each reign and each
/// change of the council adds one.
pub const MAX_UNSURE: u64 = KEPT_ENTRIES as u64 + 2 * MAX_TAIL;

/// Most bytes of the entries that a replica has, committed or not.
pub const MAX_HELD_BYTES: usize = 3 * KEPT_BYTES;

/// Bytes of entries that a replica sends or is sent in one message, about: large
/// enough for a link's delay, small enough to be sent and written in a moment.
pub const PIECE_BYTES: usize = 256 * 1024;

/// Largest message of the chat, in bytes: what the rooms are, handed on to a
/// replica that begins. Names and ids of [`MAX_ROOMS`] full rooms are some 8 MB,
/// [`MAX_AUTHORS`] are 4 MB.
pub const MAX_CHAT_FRAME: usize = 16 * 1024 * 1024;

/// Last position in the chat's log that is believed. No network gets so far, and
/// what is counted from there does not overflow.
pub const MAX_POSITION: u64 = 1 << 62;

/// Most rounds by which a ballot of the chat may exceed what a proposer has, or a
/// replica has promised, to be heeded. Rounds grow one by one, some a second at
/// most, so no network gets so far; and a liar needs decades to use them up.
pub const MAX_BALLOT_LEAP: u64 = 1 << 32;

/// Most generations by which a log may be ahead of the one that a replica holds to be
/// taken instead. People begin them, one at a time.
pub const MAX_GENERATION_LEAP: u64 = 1 << 32;

/// Most generations by which a log may be ahead of what others have heard of to be
/// believed in by a tracker, and a new one of the log before: people begin them, one at
/// a time. A replica that holds one further ahead goes back. So much less than what
/// replicas follow at once that many lies leave none of them behind.
pub const MOST_AHEAD: u64 = 1 << 16;

/// Last time that numbers an event of the chat, in microseconds since 1970: in the
/// year 2112. A clock beyond it counts on from there.
pub const MAX_EVENT_TIME: u64 = 1 << 52;

/// Most by which the number of an event is believed to exceed both that time and the
/// author's last one: so that whoever speaks in the name of another can't use up
/// the numbers that the other has.
pub const MAX_NUMBER_LEAP: u64 = 1 << 32;

/// Most lines of the past in an answer; they fit well into a frame.
pub const MAX_HISTORY: u64 = 1000;

/// Most messages of one node that are on their way to be accepted; what is beyond
/// waits at the node. At a round trip of 10 ms it lets a node say 25,000 a second.
pub const CHAT_WINDOW: usize = 256;

/// How often both sides of a chat's connection say something at least. One that
/// is silent for three times that is gone.
pub const CHAT_BEAT: Duration = Duration::from_secs(5);
