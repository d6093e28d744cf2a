# Tries things, and prints what came of each: a name, a tab, an answer. The same text runs inside and outside.
import ctypes, errno, fcntl, os, resource, select, signal, socket, sys

libc = ctypes.CDLL(None, use_errno=True)


def say(name, value):
    print(f"{name}\t{value}", flush=True)


def attempt(name, action):
    try:
        say(name, action() or "done")
    except OSError as error:
        say(name, errno.errorcode.get(error.errno, str(error.errno)))


def call(name, number, *arguments):
    ctypes.set_errno(0)
    words = [ctypes.c_long(word) if isinstance(word, int) else word for word in arguments]
    result = libc.syscall(ctypes.c_long(number), *words)
    say(name, "done" if result >= 0 else errno.errorcode[ctypes.get_errno()])


def in_child(name, action):
    """Tries what would change this process, in another."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        action()
        os._exit(0)
    os.waitpid(child, 0)


def reach(name, family, kind, address, answer=True):
    def connect():
        with socket.socket(family, kind) as peer:
            peer.settimeout(2)
            peer.connect(address)
            peer.send(name.encode())
            return peer.recv(16).decode() if answer else "sent"

    try:
        say(name, connect())
    except OSError as error:
        say(name, "closed " + errno.errorcode.get(error.errno or 0, type(error).__name__))


def network(port, path, name, outer):
    port = int(port)
    reach("tcp4", socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", port))
    reach("tcp6", socket.AF_INET6, socket.SOCK_STREAM, ("::1", port))
    reach("udp4", socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", port))
    reach("outer", socket.AF_INET, socket.SOCK_STREAM, (outer, port))
    reach("unix", socket.AF_UNIX, socket.SOCK_STREAM, path)
    reach("abstract", socket.AF_UNIX, socket.SOCK_STREAM, "\0" + name)
    attempt("socket unix", lambda: socket.socket(socket.AF_UNIX).close())
    attempt("socket route", lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0).close())
    attempt("socket audit", lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 9).close())
    attempt("socket uevent", lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 15).close())
    attempt("socket raw", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1).close())
    attempt("socket packet", lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 3).close())
    attempt("socket vsock", lambda: socket.socket(40, socket.SOCK_STREAM).close())
    attempt("socket alg", lambda: socket.socket(38, socket.SOCK_SEQPACKET).close())
    say("interfaces", " ".join(sorted(name for _, name in socket.if_nameindex())))


def possessions():
    for line in open("/proc/self/status"):
        key, _, value = line.partition(":")
        if key.startswith(("Cap", "Sig", "NoNew", "Seccomp", "Uid", "Gid", "Groups", "Umask")):
            say(key, " ".join(value.split()))
    # The descriptor that lists the others is one of them while it does.
    say("descriptors", " ".join(name for name in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{name}")))
    say("environment", " ".join(sorted(os.environ)))
    say("session", "own" if os.getsid(0) == os.getpid() else os.getsid(0))
    others = {int(name) for name in os.listdir("/proc") if name.isdigit()} - {1, os.getpid()}
    say("other processes", " ".join(map(str, sorted(others))))
    say("control group", " ".join(sorted({line.strip().split(":", 2)[2] for line in open("/proc/self/cgroup")})))
    say("proc", " ".join(sorted(name for name in os.listdir("/proc") if not name.isdigit() and shown(name))))
    say("names", " ".join(os.uname()[1:2]) + " " + open("/proc/sys/kernel/domainname").read().strip())
    mounts = [line.split() for line in open("/proc/self/mountinfo")]
    say("mounts", " ".join(mount[4] for mount in mounts))
    say("writable", " ".join(sorted({mount[4] for mount in mounts if "rw" in mount[5].split(",")})))
    say("setuid", " ".join(mount[4] for mount in mounts if "nosuid" not in mount[5].split(",")))
    for what in ("NPROC", "NOFILE", "CORE"):
        say("limit " + what, resource.getrlimit(getattr(resource, "RLIMIT_" + what))[1])


def shown(name):
    """Whether something of /proc tells anything."""
    path = "/proc/" + name
    try:
        return bool(os.listdir(path)) if os.path.isdir(path) else bool(open(path, "rb").read(1))
    except OSError:
        return False


def files(secret, *places):
    attempt("secret", lambda: open(secret).read())
    # The same by way of any mount, whatever it is called.
    mounts = [line.split()[4] for line in open("/proc/self/mountinfo")]
    say("secret below a mount", " ".join(mount for mount in mounts if mount != "/" and can_read(mount + secret)))
    attempt("shadow", lambda: open("/etc/shadow").read(1) and "read")
    for place in places:
        attempt("write " + place, lambda: os.close(os.open(place + "/probe", os.O_CREAT | os.O_WRONLY)))
        attempt("remove " + place, lambda: os.unlink(place + "/probe"))
    attempt("write sysctl", lambda: open("/proc/sys/vm/swappiness", "w").close())
    attempt("write binary", lambda: open("/usr/bin/env", "r+").close())
    attempt("chmod root", lambda: os.chmod("/", 0o777))
    attempt("device", lambda: os.mknod("/tmp/device", 0o020666, os.makedev(1, 3)))


def can_read(path):
    try:
        return bool(open(path).read(1))
    except OSError:
        return False


def calls():
    clone = {"NEWUSER": 0x10000000, "NEWNS": 0x20000, "NEWNET": 0x40000000}
    for name, flag in clone.items():
        in_child(name, lambda: call("unshare " + name, 272, flag))
    in_child("clone", lambda: call("clone NEWUSER", 56, clone["NEWUSER"] | signal.SIGCHLD, 0, 0, 0, 0))
    # Too short to be obeyed by a kernel that looks at it.
    call("clone3", 435, ctypes.create_string_buffer(88), 1)
    in_child("nested mount", nested_mount)
    call("setns", 308, os.open("/proc/self/ns/uts", os.O_RDONLY), 0)
    call("mount", 165, b"none", b"/tmp", b"tmpfs", 0, None)
    call("remount", 165, b"none", b"/", None, 0x20 | 0x1000, None)
    call("umount", 166, b"/tmp", 2)
    call("open_tree", 428, -100, b"/", 1)
    call("chroot", 161, b"/tmp")
    call("keyctl", 250, 0, -3, 0)
    call("add_key", 248, b"user", b"probe", b"x", 1, -3)
    call("request_key", 249, b"user", b"probe", None, 0)
    call("bpf", 321, 0, None, 0)
    call("io_uring_setup", 425, 1, ctypes.create_string_buffer(120))
    call("userfaultfd", 323, 1)
    call("perf_event_open", 298, ctypes.create_string_buffer(120), 0, -1, -1, 0)
    # Its answer is a context, of which a whole machine has 65,536.
    call("io_setup", 206, 1, ctypes.byref(ctypes.c_ulong(0)))
    call("setuid", 105, 0)
    call("syslog", 103, 10, None, 0)
    call("getpid", 39)


def nested_mount():
    if libc.syscall(ctypes.c_long(272), ctypes.c_long(0x10000000 | 0x20000)) < 0:
        return say("nested mount", errno.errorcode[ctypes.get_errno()])
    call("nested mount", 165, b"none", b"/tmp", b"tmpfs", 0, None)


def first_process():
    for name in ("mem", "environ", "fd", "root", "cwd", "exe", "maps"):
        path = "/proc/1/" + name
        look = os.listdir if name in ("fd", "root") else os.readlink if name in ("cwd", "exe") else open
        attempt("look at " + name, lambda: str(look(path)) and "seen")
    for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP, signal.SIGSEGV):
        os.kill(1, number)
    call("the runner lives", 62, 1, 0)

    # The control: what is refused for the runner works on a process of the agent's own.
    child = os.fork()
    if child == 0:
        signal.pause()
    call("trace our own", 101, 0x4206, child, 0, 0)
    attempt("look at our own fd", lambda: str(os.listdir(f"/proc/{child}/fd")) and "seen")
    os.kill(child, signal.SIGKILL)
    # PTRACE_SEIZE, which stops nobody; last, since signals reach whoever is traced.
    call("trace the runner", 101, 0x4206, 1, 0, 0)


def keeper():
    """Tries to reach whoever is called as a keeper is."""
    found = set()
    for name in os.listdir("/proc"):
        try:
            words = open(f"/proc/{name}/cmdline").read().split("\0") if name.isdigit() else []
            # Not this probe, which is told the same word.
            if words[-2:] == ["keeper", ""] and "-c" not in words:
                found.add(int(name))
        except OSError:
            pass
    say("keepers", "seen" if found else "unseen")
    say("signal a keeper", "done" if any(signals(pid) for pid in found) else "no")
    say("read a keeper", "done" if any(can_read(f"/proc/{pid}/maps") for pid in found) else "no")


def signals(pid):
    try:
        os.kill(pid, 0)
        return True
    except OSError:
        return False


def keyring(name):
    """Looks for a key in the session's keyring: KEYCTL_SEARCH."""
    call("key", 250, 10, -3, b"user", name.encode(), 0)


def make_objects(key):
    """Makes what [objects] looks for; `remove_objects` is its end."""
    say("made", "done" if min(libc.semget(int(key), 1, 0o1666), libc.shmget(int(key), 4096, 0o1666)) >= 0 else "no")


def remove_objects(key):
    libc.semctl(libc.semget(int(key), 0, 0), 0, 0)
    libc.shmctl(libc.shmget(int(key), 0, 0), 0, None)
    say("removed", "done")


def objects(key):
    """Looks for System V objects: semget and shmget."""
    call("semaphores", 64, int(key), 0, 0)
    call("shared segment", 29, int(key), 0, 0)


def stay():
    say("serving", "done")
    signal.pause()


def serve(port, path, name, key, word):
    """Is somebody to be reached, in every way that sandboxes have, until it is killed."""
    listening = [socket.create_server(("127.0.0.1", int(port)))]
    for address in (path, "\0" + name):
        listening.append(socket.socket(socket.AF_UNIX))
        listening[-1].bind(address)
        listening[-1].listen()
    libc.syscall(64, int(key), 1, 0o1666)
    libc.syscall(29, ctypes.c_long(int(key)), ctypes.c_long(4096), 0o1666)
    open("/dev/shm/" + word, "w").write(word)
    if os.fork() == 0:
        os.execv("/bin/sleep", ["sleep", word])
    say("serving", "done")
    while True:
        for ready in select.select(listening, [], [])[0]:
            peer, _ = ready.accept()
            peer.recv(16)
            peer.send(b"reached")
            peer.close()


def neighbour(port, path, name, key, word):
    """Tries to reach who serves."""
    reach("tcp", socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", int(port)))
    reach("unix", socket.AF_UNIX, socket.SOCK_STREAM, path)
    reach("abstract", socket.AF_UNIX, socket.SOCK_STREAM, "\0" + name)
    attempt("shared memory", lambda: open("/dev/shm/" + word).read() == word and "reached")
    objects(key)
    pids = [int(pid) for pid in os.listdir("/proc") if pid.isdigit() and is_called(pid, f"sleep\0{word}\0")]
    say("signal", "reached" if any(signals(pid) for pid in pids) else "unseen")


def is_called(pid, line):
    try:
        return open(f"/proc/{pid}/cmdline").read() == line
    except OSError:
        return False


def bomb(most):
    children = []
    try:
        while len(children) < int(most):
            child = os.fork()
            if child == 0:
                signal.pause()
            children.append(child)
        say("forks", "unbounded")
    except OSError as error:
        say("forks", errno.errorcode[error.errno])
    say("children", len(children))
    for child in children:
        os.kill(child, signal.SIGKILL)
    for child in children:
        os.waitpid(child, 0)
    opened = []
    try:
        while len(opened) < 100000:
            opened.append(os.dup(0))
    except OSError as error:
        say("descriptors", errno.errorcode[error.errno])


def take(name, most, make):
    """Takes as many of something as there are, and tells how many, and what ended it."""
    taken = []
    try:
        while len(taken) < most:
            taken.append(make())
        say(name + " end", "unbounded")
    except OSError as error:
        say(name + " end", errno.errorcode[error.errno])
    say(name, len(taken))
    for descriptor in taken:
        os.close(descriptor)


def watcher():
    descriptor = libc.inotify_init()
    if descriptor < 0:
        raise OSError(ctypes.get_errno(), "inotify_init")
    return descriptor


def counters():
    """Takes what a whole machine, or all processes of one user, would share."""
    take("terminals", 72, lambda: os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY))
    take("watchers", 40, watcher)
    for name in ("tcp_wmem", "tcp_rmem"):
        say(name, open("/proc/sys/net/ipv4/" + name).read().split()[-1])


def buffers():
    """Has connections buffer what nobody reads, twice as much as a sandbox may; each child holds what it sent."""
    lines = open("/proc/self/cgroup").read().splitlines()
    apart = any("memory" in line.split(":")[1].split(",") for line in lines)
    has_group = resource.getrlimit(resource.RLIMIT_AS)[1] == resource.RLIM_INFINITY
    say("counted apart", "yes" if apart and has_group else "no")
    children, total = [], 0
    while len(children) < 8 and total < 64 << 20:
        told, tell = os.pipe()
        child = os.fork()
        if child == 0:
            held, sent = fill(40, 16 << 20)
            os.write(tell, str(sent).encode())
            signal.pause()
        children.append(child)
        total += int(os.read(told, 32))
    say("buffers", "unbounded" if total >= 64 << 20 else "bounded")
    say("buffers MiB", total >> 20)
    for child in children:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def fill(most, enough):
    """Sends over so many connections until none takes more, or enough is on its way."""
    listener = socket.create_server(("127.0.0.1", 0))
    block = b"x" * (1 << 16)
    held, sent = [listener], 0
    for _ in range(most):
        peer = socket.create_connection(listener.getsockname())
        held += [peer, listener.accept()[0]]
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 22)
        peer.setblocking(False)
        try:
            while sent < enough:
                sent += peer.send(block)
        except BlockingIOError:
            pass
    return held, sent


def locks(*paths):
    """Takes the lock of each file."""
    for path in paths:
        file = open(path)
        attempt(path, lambda: fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB))


def uncounted():
    """Makes memory that no process shows as its own; whether each process has a limit of its own."""
    limit = resource.getrlimit(resource.RLIMIT_AS)[1]
    say("bounded by", "group" if limit == resource.RLIM_INFINITY else "supervisor")
    call("semaphores", 64, 0, 1, 0o1600)
    call("shared segment", 29, 0, 4096, 0o1600)
    call("memory file", 319, b"probe", 0)


def under_way(most):
    """Sends descriptors that nobody receives, until the kernel lets no more be under way; stays with them."""
    kept, sent = [], 0
    answer = "unbounded"
    try:
        while sent < int(most):
            kept.append(socket.socketpair())
            for _ in range(8):
                socket.send_fds(kept[-1][0], [b"x"], [0] * 16)
                sent += 16
    except OSError as error:
        answer = errno.errorcode[error.errno]
    say("serving", "done" if answer == "ETOOMANYREFS" else answer)
    signal.pause()


def disk(*places):
    block = b"x" * (1 << 20)
    for place in places:
        written = 0
        path = place + "/full"
        try:
            with open(path, "wb", buffering=0) as file:
                while written < 100 << 20:
                    written += file.write(block)
            say(place, "unbounded")
        except OSError as error:
            say(place, errno.errorcode[error.errno])
        os.unlink(path)
        say(place + " MiB", written >> 20)
        say(place + " after", "usable" if open(path, "wb").write(b"x") == 1 else "lost")
        os.unlink(path)
        count = 0
        try:
            while count < 100_000:
                os.mkdir(f"{place}/{count}")
                count += 1
            say(place + " entries", "unbounded")
        except OSError as error:
            say(place + " entries", errno.errorcode[error.errno])
        for number in range(count):
            os.rmdir(f"{place}/{number}")


def memory(mebibytes, processes):
    """Each of some processes holds so much, none more than it may alone."""
    children = []
    for _ in range(int(processes)):
        child = os.fork()
        if child == 0:
            held = [bytearray(os.urandom(1 << 20)) for _ in range(int(mebibytes))]
            os._exit(0 if len(held) == int(mebibytes) else 1)
            # Not reached by whoever is killed.
        children.append(child)
    killed = 0
    for child in children:
        _, status = os.waitpid(child, 0)
        killed += status != 0
    say("killed", killed)


globals()[sys.argv[1]](*sys.argv[2:])
