/* The CUDA runtime on the host: devices, memory, streams, events, graphs. See standin.h for what it is for.
 *
 * A stream is a list of operations, each with its place in the order of all calls. Nothing runs until somebody waits for it; then all
 * that it depends on runs, and nothing else. One lock for all; operations run under it, on the thread that waits. */
#include "standin/simt.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <fcntl.h>
#include <map>
#include <mutex>
#include <pthread.h>
#include <sched.h>
#include <string>
#include <string_view>
#include <sys/mman.h>
#include <unistd.h>
#include <vector>

namespace {

constexpr size_t page_bytes = 4096;
constexpr size_t arena_bytes = (size_t)16 << 30; /* of address space */
constexpr size_t default_bytes = (size_t)4 << 30;
constexpr size_t alignment = 256;
constexpr int fresh = 0xC3; /* what new memory is filled with */
constexpr size_t shared_default = 48 << 10, shared_most = 227 << 10;

using work = std::function<bool()>; /* false: not yet, ask again */

double now()
{
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/* ---- what is collected for a graph ---- */
/* A stream's part: work, or a wait for the first `upto` nodes of another lane. */
struct node {
    work run;
    int lane = -1;
    size_t upto = 0;
};
struct lane {
    std::vector<node> nodes;
    size_t joined = 0; /* so many have somebody that waits for them */
};
struct capture {
    std::vector<lane> lanes; /* 0: the stream that began */
    bool spoiled = false;
    cudaStreamCaptureMode mode;
    pthread_t owner;
};

/* ---- streams and events ---- */
struct event_state {
    uint64_t recorded = 0, done = 0; /* versions */
    CUstream_st *stream = nullptr;   /* of the latest record, and its place */
    uint64_t place = 0;
    double time = 0;
    uint64_t asked = 0; /* version that a query said "not ready" about */
    std::shared_ptr<capture> collected; /* latest record was in this one, */
    int lane = 0;                       /* behind so many nodes of this lane */
    size_t upto = 0;
};
struct operation {
    uint64_t place;
    work run;                           /* or */
    std::shared_ptr<event_state> event; /* a record, or a wait for another stream's */
    uint64_t version = 0;
    CUstream_st *other = nullptr;
    uint64_t other_place = 0;
};

} // namespace

struct CUstream_st {
    int device = 0;
    bool blocking = true; /* ordered with the default stream */
    int priority = 0;
    std::deque<operation> queue;
    std::shared_ptr<capture> collecting;
    int lane = 0;
    uint64_t asked = 0;
};
struct CUevent_st {
    std::shared_ptr<event_state> state = std::make_shared<event_state>();
    bool timing = true;
};
struct CUgraph_st {
    std::shared_ptr<const std::vector<lane>> lanes;
};
struct CUgraphExec_st {
    std::shared_ptr<const std::vector<lane>> lanes;
};

namespace {

struct allocation {
    uintptr_t low;    /* of its pages */
    size_t mapped;    /* bytes of them; a closed page stands behind */
    uintptr_t at;     /* of the memory, which ends where the pages end but for the alignment */
    size_t bytes;
    int device;
};

/* Of a device; shared by processes with STANDIN_POOL. */
struct taken {
    int64_t now, most;
};
constexpr int most_devices = 16;

struct host_thread {
    cudaError_t last = cudaSuccess;
    int device = 0;
};

struct standin {
    std::recursive_mutex lock;
    bool ready = false;
    int devices = 1;
    size_t bytes = default_bytes;
    bool eager = false, fail_loses = false;
    std::string fail_after; /* no failure on request counts until this call has come so often */
    long fail_after_n = 0;
    size_t ahead = 0;
    uint64_t waits = 0;
    size_t guard = 1;
    bool closed = true;                         /* device memory */
    double guard_seconds = 0, work_seconds = 0; /* spent on closing and opening; between */
    double opened_at = 0;
    pthread_key_t key;
    uintptr_t arena = 0;
    std::map<uintptr_t, allocation> allocations; /* by `at` */
    std::map<uintptr_t, size_t> pinned;
    taken own[most_devices] = {}, *used = own;
    int open = 0;       /* depth of what may touch device memory */
    bool inside = false; /* a closure runs */
    cudaError_t lost = cudaSuccess;
    uint64_t place = 0;
    std::vector<CUstream_st *> streams; /* one default stream a device first */
    std::vector<std::shared_ptr<capture>> captures;
    std::string fail_text;
    struct failure {
        std::string name;
        long n;
        int error; /* -1: as the call goes */
    };
    std::vector<failure> failures;
    struct sigaction before;
};

/* Never destroyed: threads may outlive the end of main. */
standin &G = *new standin;

host_thread &me()
{
    auto *t = static_cast<host_thread *>(pthread_getspecific(G.key));
    if (t == nullptr) {
        t = new host_thread;
        pthread_setspecific(G.key, t);
    }
    return *t;
}

cudaError_t note(cudaError_t e)
{
    if (e != cudaSuccess)
        me().last = e;
    return e;
}

size_t number(const char *name, size_t otherwise)
{
    const char *text = getenv(name);
    if (text == nullptr || *text == 0)
        return otherwise;
    char *end;
    const unsigned long long v = strtoull(text, &end, 0);
    if (*end != 0)
        standin_say("%s=%s is not a number", name, text);
    return (size_t)v;
}

/* ---- device memory ---- */
const allocation *find(const void *p)
{
    const auto it = G.allocations.upper_bound((uintptr_t)p);
    if (it == G.allocations.begin())
        return nullptr;
    const allocation &a = std::prev(it)->second;
    return (uintptr_t)p < a.at + a.bytes ? &a : nullptr;
}

bool in_arena(const void *p)
{
    return (uintptr_t)p - G.arena < arena_bytes;
}

bool is_pinned(const void *p, size_t bytes)
{
    const auto it = G.pinned.upper_bound((uintptr_t)p);
    return it != G.pinned.begin() && (uintptr_t)p + bytes <= std::prev(it)->first + std::prev(it)->second;
}

void protect(bool closed)
{
    const double start = now();
    for (const auto &[at, a] : G.allocations)
        mprotect((void *)a.low, a.mapped, closed ? PROT_NONE : PROT_READ | PROT_WRITE);
    G.closed = closed;
    G.guard_seconds += now() - start;
}

constexpr double guard_allowance = 1; /* seconds */

void open_memory()
{
    if (G.open++ > 0)
        return;
    if (G.closed)
        protect(false);
    G.opened_at = now();
}

void close_memory()
{
    if (--G.open > 0)
        return;
    G.work_seconds += now() - G.opened_at;
    if (G.guard > 1 || (G.guard == 1 && G.guard_seconds < G.work_seconds + guard_allowance))
        protect(true);
}

/* Device memory is open while one of these lives. */
struct opened {
    opened()
    {
        open_memory();
    }
    ~opened()
    {
        close_memory();
    }
    opened(const opened &) = delete;
};

/* A file of bytes `fresh`, of which new memory is a private mapping: so what nobody touches costs nothing. */
constexpr size_t fresh_bytes = (size_t)4 << 20;

int fresh_file()
{
    static int file = -1;
    if (file < 0) {
        const std::vector<char> content(fresh_bytes, (char)fresh);
        file = memfd_create("standin", MFD_CLOEXEC);
        if (file < 0 || write(file, content.data(), fresh_bytes) != (ssize_t)fresh_bytes) {
            close(file);
            file = -1;
        }
    }
    return file;
}

bool map_fresh(uintptr_t low, size_t bytes, bool closed)
{
    const int file = fresh_file();
    for (size_t at = 0; file >= 0 && at < bytes; at += fresh_bytes)
        if (mmap((void *)(low + at), std::min(fresh_bytes, bytes - at), closed ? PROT_NONE : PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, file, 0) == MAP_FAILED)
            return false;
    return file >= 0;
}

void unmap(uintptr_t low, size_t bytes)
{
    mmap((void *)low, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
}

/* Says whose fault it was, then lets it happen. */
void on_fault(int number, siginfo_t *info, void *)
{
    char text[1200];
    int n = 0;
    const char *where = standin_where();
    const void *p = info->si_addr;
    if (standin_stack_guard(p))
        n = snprintf(text, sizeof text, "standin: %s: more than the stack of a device thread\n", where ? where : "");
    else if (where)
        n = snprintf(text, sizeof text, "standin: %s: touched %p, which is %s\n", where, p,
            in_arena(p) ? "device memory that is in no allocation" : "not device memory");
    else if (in_arena(p))
        n = snprintf(text, sizeof text, G.open ? "standin: queued work touched %p, device memory that is in no allocation\n" : "standin: the host touched device memory at %p\n", p);
    if (n > 0 && write(2, text, (size_t)n) < 0)
        errno = 0;
    sigaction(number, &G.before, nullptr); /* comes back to the same place, and is caught as before */
}

/* The file, of zeros when it is new; where it cannot be had, memory stays this process's own. */
taken *pool(const char *path)
{
    const size_t bytes = sizeof(taken) * most_devices;
    const int file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    void *const p = file >= 0 && ftruncate(file, (off_t)bytes) == 0 ? mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0) : MAP_FAILED;
    if (p == MAP_FAILED)
        standin_say("STANDIN_POOL=%s: %s", path, strerror(errno));
    if (file >= 0)
        close(file);
    return p == MAP_FAILED ? G.own : static_cast<taken *>(p);
}

/* false: there is not so much left. */
bool take(int device, size_t bytes)
{
    taken *const t = &G.used[device];
    int64_t was = __atomic_load_n(&t->now, __ATOMIC_SEQ_CST), most = __atomic_load_n(&t->most, __ATOMIC_SEQ_CST);
    do {
        if (was + (int64_t)bytes > (int64_t)G.bytes)
            return false;
    } while (!__atomic_compare_exchange_n(&t->now, &was, was + (int64_t)bytes, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST));
    while (was + (int64_t)bytes > most && !__atomic_compare_exchange_n(&t->most, &most, was + (int64_t)bytes, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
        ;
    return true;
}

void give_back(int device, size_t bytes)
{
    __atomic_sub_fetch(&G.used[device].now, (int64_t)bytes, __ATOMIC_SEQ_CST);
}

void setup()
{
    G.ready = true;
    pthread_key_create(&G.key, [](void *p) { delete static_cast<host_thread *>(p); });
    G.devices = (int)std::min<size_t>(number("STANDIN_DEVICES", 1), most_devices);
    G.bytes = number("STANDIN_BYTES", default_bytes);
    G.eager = number("STANDIN_EAGER", 0) != 0;
    G.ahead = number("STANDIN_AHEAD", 0);
    G.guard = number("STANDIN_GUARD", 1);
    G.fail_loses = number("STANDIN_FAIL_LOSES", 0) != 0;
    if (const char *const after = getenv("STANDIN_FAIL_AFTER"); after != nullptr && strchr(after, ':') != nullptr) {
        G.fail_after.assign(after, strchr(after, ':'));
        G.fail_after_n = atol(strchr(after, ':') + 1);
    }
    G.closed = G.guard > 0;
    if (const char *const path = getenv("STANDIN_POOL"); path != nullptr && *path != 0)
        G.used = pool(path);
    if (G.used != G.own)
        atexit([] { for (const auto &[at, a] : G.allocations) give_back(a.device, (a.bytes + alignment - 1) / alignment * alignment); });
    void *const p = mmap(nullptr, arena_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) {
        standin_say("no address space for device memory: %s", strerror(errno));
        G.devices = 0;
        return;
    }
    G.arena = (uintptr_t)p;
    for (int i = 0; i < G.devices; i++) {
        G.streams.push_back(new CUstream_st);
        G.streams.back()->device = i;
    }
    struct sigaction a = {};
    a.sa_sigaction = on_fault;
    a.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
    sigaction(SIGSEGV, &a, &G.before);
    stack_t old;
    if (sigaltstack(nullptr, &old) == 0 && (old.ss_flags & SS_DISABLE)) {
        stack_t s = {};
        s.ss_size = 64 << 10;
        s.ss_sp = malloc(s.ss_size);
        sigaltstack(&s, nullptr);
    }
}

/* ---- failures on request ---- */
void read_failures()
{
    const char *text = getenv("STANDIN_FAIL");
    const char *const rank = getenv("STANDIN_FAIL_RANK"), *const own = getenv("OMPI_COMM_WORLD_RANK");
    if (rank != nullptr && (own == nullptr || strcmp(own, rank) != 0))
        text = nullptr;
    if (G.fail_text == (text ? text : ""))
        return;
    G.fail_text = text ? text : "";
    G.failures.clear();
    std::string_view rest = G.fail_text;
    while (!rest.empty()) {
        const std::string item(rest.substr(0, rest.find(',')));
        rest.remove_prefix(std::min(rest.size(), item.size() + 1));
        const size_t first = item.find(':'), second = first == std::string::npos ? first : item.find(':', first + 1);
        if (first == std::string::npos) {
            standin_say("STANDIN_FAIL=%s: name:n or name:n:error", item.c_str());
            continue;
        }
        G.failures.push_back({item.substr(0, first), atol(item.c_str() + first + 1),
            second == std::string::npos ? -1 : atoi(item.c_str() + second + 1)});
    }
}

/* ---- the beginning of every call ---- */
struct call {
    std::lock_guard<std::recursive_mutex> held;
    cudaError_t error = cudaSuccess;
    explicit call(const char *name) : held(G.lock)
    {
        if (!G.ready)
            setup();
        int number = -1;
        if (standin_fails(name, &number)) {
            error = number >= 0 ? (cudaError_t)number
                                : (strstr(name, "lloc") ? cudaErrorMemoryAllocation : cudaErrorLaunchFailure);
            if (G.fail_loses)
                standin_lose(error, "%s was to fail", name);
        } else if (G.devices == 0)
            error = cudaErrorNoDevice;
        else if (G.lost != cudaSuccess)
            error = G.lost;
        else if (G.inside) {
            standin_say("%s inside of queued work", name);
            error = cudaErrorNotPermitted;
        }
    }
};
#define BEGIN(name) \
    const call begun(#name); \
    if (begun.error != cudaSuccess) \
    return note(begun.error)

CUstream_st *default_stream()
{
    return G.streams[(size_t)me().device];
}

/* NULL: not a stream. */
CUstream_st *stream_of(cudaStream_t s)
{
    if (s == nullptr || s == cudaStreamLegacy)
        return default_stream();
    return std::find(G.streams.begin(), G.streams.end(), s) != G.streams.end() ? s : nullptr;
}
#define STREAM(handle) \
    CUstream_st *const stream = stream_of(handle); \
    if (stream == nullptr) \
    return note(cudaErrorInvalidResourceHandle)

bool is_default(const CUstream_st *s)
{
    return s == G.streams[(size_t)s->device];
}

/* "int, float*" of what the compiler calls the launch. */
std::string type_list(const char *types)
{
    const char *const at = strstr(types, "P = {");
    return at ? std::string(at + 5, strcspn(at + 5, "}")) : types;
}

/* ---- running ---- */
bool advance(CUstream_st *s, uint64_t place, int64_t *budget);

/* The first operation of s. false: it cannot be done yet, or the budget is spent. */
bool step(CUstream_st *s, int64_t *budget)
{
    operation &o = s->queue.front();
    const uint64_t place = o.place;
    /* The default stream waits for all blocking ones, and they for it. */
    if (is_default(s)) {
        for (CUstream_st *other : G.streams)
            if (other != s && other->blocking && other->device == s->device && !is_default(other) && !advance(other, place, budget))
                return false;
    } else if (s->blocking && !advance(G.streams[(size_t)s->device], place, budget)) {
        return false;
    }
    if (o.other != nullptr) {
        if (o.event->done < o.version && !advance(o.other, o.other_place, budget))
            return false;
    } else if (o.event != nullptr) {
        o.event->done = o.version;
        o.event->time = now();
    } else if (G.lost == cudaSuccess) {
        if (--*budget < 0)
            return false;
        G.inside = true;
        const bool done = o.run();
        G.inside = false;
        if (!done && G.lost == cudaSuccess)
            return false;
    }
    s->queue.pop_front();
    return true;
}

/* Runs s up to and with `place`. */
bool advance(CUstream_st *s, uint64_t place, int64_t *budget)
{
    while (!s->queue.empty() && s->queue.front().place <= place)
        if (!step(s, budget))
            return false;
    return true;
}

bool pending(const CUstream_st *s, uint64_t place)
{
    return !s->queue.empty() && s->queue.front().place <= place;
}

/* Before something is done that s is waited for: where other streams are to be ahead of it, as far as they get. */
void let_others_run(const CUstream_st *s)
{
    if (G.ahead == 0 || (G.ahead > 1 && ++G.waits % 2 == 0))
        return;
    for (size_t i = 0; i < G.streams.size(); i++) {
        int64_t budget = INT64_MAX;
        if (G.streams[i] != s)
            advance(G.streams[i], UINT64_MAX, &budget);
    }
}

/* The same, however long it takes. */
void finish(CUstream_st *s, uint64_t place)
{
    if (!pending(s, place))
        return;
    const opened access;
    let_others_run(s);
    for (;;) {
        int64_t budget = INT64_MAX;
        if (advance(s, place, &budget))
            return;
        G.lock.unlock();
        sched_yield();
        G.lock.lock();
    }
}

void finish_all()
{
    for (size_t i = 0; i < G.streams.size(); i++)
        finish(G.streams[i], UINT64_MAX);
}

/* What a query does: the first time it runs half of what there is and says no. `asked` is the place it was last asked about. */
bool poll(CUstream_st *s, uint64_t place, uint64_t *asked)
{
    if (!pending(s, place))
        return true;
    const bool first = *asked != place;
    *asked = place;
    int64_t budget = first ? (int64_t)s->queue.size() / 2 : INT64_MAX;
    const opened access;
    if (first)
        let_others_run(s);
    return advance(s, place, &budget) && !first;
}

/* ---- collecting ---- */
cudaError_t spoil(capture *c, cudaError_t e)
{
    if (c)
        c->spoiled = true;
    return note(e);
}

/* A call that may not be made while the thread, or any, collects. */
cudaError_t unsafe()
{
    for (const auto &c : G.captures)
        if (c->mode == cudaStreamCaptureModeGlobal || (c->mode == cudaStreamCaptureModeThreadLocal && pthread_equal(c->owner, pthread_self())))
            return spoil(c.get(), cudaErrorStreamCaptureUnsupported);
    return cudaSuccess;
}
#define UNSAFE() \
    do { \
        if (const cudaError_t e = unsafe(); e != cudaSuccess) \
            return e; \
    } while (0)

/* Work on the default stream orders blocking streams, which a graph cannot hold. */
cudaError_t implicit(const CUstream_st *s)
{
    if (!is_default(s))
        return cudaSuccess;
    for (const CUstream_st *other : G.streams)
        if (other->collecting && other->blocking && other->device == s->device)
            return spoil(other->collecting.get(), cudaErrorStreamCaptureImplicit);
    return cudaSuccess;
}

cudaError_t queue(CUstream_st *s, work w)
{
    if (s->collecting) {
        if (s->collecting->spoiled)
            return note(cudaErrorStreamCaptureInvalidated);
        s->collecting->lanes[(size_t)s->lane].nodes.push_back({std::move(w)});
        return cudaSuccess;
    }
    if (const cudaError_t e = implicit(s); e != cudaSuccess)
        return e;
    s->queue.push_back({.place = ++G.place, .run = std::move(w), .event = nullptr});
    if (G.eager) {
        const opened access;
        int64_t budget = INT64_MAX;
        advance(s, G.place, &budget);
    }
    return cudaSuccess;
}

/* One launch of a graph: where each lane is. */
struct replay {
    std::vector<lane> lanes;
    std::vector<size_t> at;
    explicit replay(const std::vector<lane> &l) : lanes(l), at(l.size())
    {
    }
    bool advance(size_t l, size_t upto)
    {
        for (; at[l] < upto; at[l]++) {
            const node &n = lanes[l].nodes[at[l]];
            if (G.lost == cudaSuccess && !(n.lane >= 0 ? advance((size_t)n.lane, n.upto) : n.run()))
                return false;
        }
        return true;
    }
    bool run()
    {
        for (size_t l = lanes.size(); l-- > 0;) /* the last first: it must not need more than it waits for */
            if (!advance(l, lanes[l].nodes.size()))
                return false;
        return true;
    }
};

/* ---- copies ---- */
enum side { DEVICE, PINNED, PAGEABLE, WRONG };
side side_of(const void *p, size_t bytes)
{
    if (in_arena(p))
        return standin_in_device(p, bytes) ? DEVICE : WRONG;
    return is_pinned(p, bytes) ? PINNED : PAGEABLE;
}

/* Checks a copy; the sides it has. */
cudaError_t check_copy(const char *name, const void *to, const void *from, size_t bytes, cudaMemcpyKind kind, side *t, side *f)
{
    *t = side_of(to, bytes);
    *f = side_of(from, bytes);
    if (*t == WRONG || *f == WRONG) {
        standin_say("%s: [%p, +%zu) is in no allocation of the device", name, *t == WRONG ? to : from, bytes);
        return cudaErrorInvalidValue;
    }
    const bool fits = kind == cudaMemcpyDefault
        || ((*t == DEVICE) == (kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice)
            && (*f == DEVICE) == (kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice));
    if (!fits || (kind != cudaMemcpyDefault && ((unsigned)kind > 4))) {
        standin_say("%s: from %s to %s, called as kind %d", name, *f == DEVICE ? "device" : "host", *t == DEVICE ? "device" : "host", (int)kind);
        return kind == cudaMemcpyDefault || (unsigned)kind <= 4 ? cudaErrorInvalidValue : cudaErrorInvalidMemcpyDirection;
    }
    return cudaSuccess;
}

cudaError_t queue_copy(CUstream_st *s, void *to, const void *from, size_t bytes, bool staged)
{
    if (!staged)
        return queue(s, [=] {
            memmove(to, from, bytes);
            return true;
        });
    const auto stage = std::make_shared<std::vector<char>>((const char *)from, (const char *)from + bytes);
    return queue(s, [=] {
        memcpy(to, stage->data(), bytes);
        return true;
    });
}

} // namespace

/* ---- for the other parts of the stand-in ---- */
void standin_say(const char *format, ...)
{
    char text[2048];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    fprintf(stderr, "standin: %s\n", text);
}

bool standin_in_device(const void *p, size_t bytes)
{
    const allocation *const a = find(p);
    return a != nullptr && (uintptr_t)p + bytes <= a->at + a->bytes;
}

void standin_lose(cudaError_t e, const char *format, ...)
{
    char text[2048];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    standin_say("%s: %s", cudaGetErrorName(e), text);
    if (G.lost == cudaSuccess)
        G.lost = e;
}

bool standin_fails(const char *name, int *error)
{
    const std::lock_guard held(G.lock);
    read_failures();
    bool hit = false;
    if (G.fail_after_n > 0) {
        G.fail_after_n -= G.fail_after == name;
        return false;
    }
    for (auto &f : G.failures)
        if (f.name == name && f.n > 0 && --f.n == 0) {
            hit = true;
            if (f.error >= 0)
                *error = f.error;
        }
    return hit;
}

cudaError_t standin_queue_poll(cudaStream_t handle, std::function<bool()> w)
{
    BEGIN(standin_queue);
    STREAM(handle);
    return queue(stream, std::move(w));
}

cudaError_t standin_queue(cudaStream_t stream, std::function<void()> w)
{
    return standin_queue_poll(stream, [w = std::move(w)] {
        w();
        return true;
    });
}

/* ---- for an MPI that takes device memory (mpi.c) ---- */
extern "C" {
bool standin_mpi_open(void);
void standin_mpi_close(void);
bool standin_mpi_allocated(const void *p, size_t bytes);
}

/* A call into MPI begins, which may touch device memory until standin_mpi_close; false: there is none yet. */
bool standin_mpi_open(void)
{
    const std::lock_guard held(G.lock);
    if (G.ready && G.devices > 0)
        open_memory();
    return G.ready && G.devices > 0;
}

void standin_mpi_close(void)
{
    const std::lock_guard held(G.lock);
    close_memory();
}

/* Memory of the host, or all of it in one allocation of a device. */
bool standin_mpi_allocated(const void *p, size_t bytes)
{
    const std::lock_guard held(G.lock);
    return bytes == 0 || side_of(p, bytes) != WRONG;
}

bool standin_suspect(const void *argument, size_t bytes)
{
    const std::lock_guard held(G.lock);
    for (size_t i = 0; i + sizeof(uintptr_t) <= bytes; i += sizeof(uintptr_t)) {
        uintptr_t word;
        memcpy(&word, (const char *)argument + i, sizeof word);
        if (word >> 32 == 0 || word >> 47 != 0 || in_arena((void *)word) || is_pinned((void *)word, 1))
            continue;
        unsigned char there;
        if (mincore((void *)(word & ~(uintptr_t)(page_bytes - 1)), page_bytes, &there) == 0)
            return true;
    }
    return false;
}

cudaError_t standin_refuse(const char *types, int argument)
{
    BEGIN(cudaLaunchKernel);
    standin_say("launch of kernel (%s): argument %d (from 0) is, or holds, an address of host memory", type_list(types).c_str(), argument);
    return note(cudaErrorInvalidValue);
}

static uint64_t launched; /* under the lock */

uint64_t standin_launches()
{
    const std::lock_guard<std::recursive_mutex> held(G.lock);
    return launched;
}

cudaError_t standin_launch_body(std::shared_ptr<standin_body> body, dim3 grid, dim3 block, size_t shared, cudaStream_t handle)
{
    BEGIN(cudaLaunchKernel);
    STREAM(handle);
    const uint64_t threads = (uint64_t)block.x * block.y * block.z;
    if (threads == 0 || threads > 1024 || block.z > 64 || grid.x == 0 || grid.y == 0 || grid.z == 0 || grid.x > 0x7fffffffu
        || grid.y > 65535 || grid.z > 65535) {
        standin_say("launch of kernel (%s): grid %u,%u,%u of blocks %u,%u,%u", type_list(body->types).c_str(), grid.x, grid.y, grid.z, block.x, block.y, block.z);
        return note(cudaErrorInvalidConfiguration);
    }
    extern size_t standin_shared_limit(const void *kernel);
    if (shared > standin_shared_limit(body->key)) {
        standin_say("launch of kernel (%s): %zu bytes of shared memory", type_list(body->types).c_str(), shared);
        return note(cudaErrorInvalidValue);
    }
    if (stream->device != me().device)
        return note(cudaErrorInvalidResourceHandle);
    int error = cudaErrorLaunchFailure;
    const bool fails = standin_fails("launch", &error);
    launched++;
    return queue(stream, [=] {
        if (fails)
            standin_lose((cudaError_t)error, "kernel (%s) was to fail", type_list(body->types).c_str());
        else if (!standin_run(*body, grid, block, shared))
            standin_lose(cudaErrorLaunchFailure, "after the misuse above");
        return true;
    });
}

/* ---- devices ---- */
extern "C" {

cudaError_t cudaGetDeviceCount(int *count)
{
    BEGIN(cudaGetDeviceCount);
    *count = G.devices;
    return cudaSuccess;
}

cudaError_t cudaSetDevice(int device)
{
    BEGIN(cudaSetDevice);
    if (device < 0 || device >= G.devices)
        return note(cudaErrorInvalidDevice);
    me().device = device;
    return cudaSuccess;
}

cudaError_t cudaGetDevice(int *device)
{
    BEGIN(cudaGetDevice);
    *device = me().device;
    return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp *p, int device)
{
    BEGIN(cudaGetDeviceProperties);
    if (device < 0 || device >= G.devices)
        return note(cudaErrorInvalidDevice);
    *p = {};
    snprintf(p->name, sizeof p->name, "stand-in on the host");
    p->uuid.bytes[15] = (char)device;
    p->totalGlobalMem = G.bytes;
    p->sharedMemPerBlock = shared_default;
    p->sharedMemPerBlockOptin = shared_most;
    p->sharedMemPerMultiprocessor = shared_most + 1024;
    p->regsPerBlock = p->regsPerMultiprocessor = 65536;
    p->warpSize = 32;
    p->maxThreadsPerBlock = 1024;
    p->maxThreadsDim[0] = p->maxThreadsDim[1] = 1024;
    p->maxThreadsDim[2] = 64;
    p->maxGridSize[0] = 0x7fffffff;
    p->maxGridSize[1] = p->maxGridSize[2] = 65535;
    p->maxThreadsPerMultiProcessor = 2048;
    p->maxBlocksPerMultiProcessor = 32;
    p->totalConstMem = 65536;
    p->major = 9;
    p->multiProcessorCount = 1;
    p->unifiedAddressing = 1;
    p->canMapHostMemory = 1;
    p->concurrentKernels = 1;
    p->asyncEngineCount = 1;
    p->streamPrioritiesSupported = 1;
    p->l2CacheSize = 1 << 20;
    p->memoryBusWidth = 64;
    p->pciBusID = device + 1;
    return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr attr, int device)
{
    BEGIN(cudaDeviceGetAttribute);
    if (device < 0 || device >= G.devices)
        return note(cudaErrorInvalidDevice);
    switch ((int)attr) {
    case cudaDevAttrMaxThreadsPerBlock:
        *value = 1024;
        break;
    case cudaDevAttrMaxSharedMemoryPerBlock:
        *value = (int)shared_default;
        break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
        *value = (int)shared_most;
        break;
    case cudaDevAttrWarpSize:
        *value = 32;
        break;
    case cudaDevAttrMultiProcessorCount:
        *value = 1;
        break;
    case cudaDevAttrComputeCapabilityMajor:
        *value = 9;
        break;
    case cudaDevAttrComputeCapabilityMinor:
        *value = 0;
        break;
    case cudaDevAttrClockRate:
    case cudaDevAttrMemoryClockRate:
        *value = 1000000;
        break;
    case cudaDevAttrGlobalMemoryBusWidth:
        *value = 64;
        break;
    case cudaDevAttrUnifiedAddressing:
    case cudaDevAttrCanMapHostMemory:
        *value = 1;
        break;
    case cudaDevAttrManagedMemory:
    case cudaDevAttrConcurrentManagedAccess:
    case cudaDevAttrPageableMemoryAccess:
    case cudaDevAttrCooperativeLaunch:
    case cudaDevAttrMemoryPoolsSupported:
    case cudaDevAttrEccEnabled:
        *value = 0;
        break;
    default:
        standin_say("cudaDeviceGetAttribute: attribute %d is not known here", (int)attr);
        return note(cudaErrorInvalidValue);
    }
    return cudaSuccess;
}

cudaError_t cudaDriverGetVersion(int *version)
{
    const call begun("cudaDriverGetVersion");
    *version = CUDART_VERSION;
    return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int *version)
{
    const call begun("cudaRuntimeGetVersion");
    *version = CUDART_VERSION;
    return cudaSuccess;
}

cudaError_t cudaDeviceGetPCIBusId(char *text, int size, int device)
{
    BEGIN(cudaDeviceGetPCIBusId);
    if (device < 0 || device >= G.devices)
        return note(cudaErrorInvalidDevice);
    if (snprintf(text, (size_t)std::max(size, 0), "0000:%02X:00.0", device + 1) >= size)
        return note(cudaErrorInvalidValue);
    return cudaSuccess;
}

cudaError_t cudaDeviceCanAccessPeer(int *can, int device, int peer)
{
    BEGIN(cudaDeviceCanAccessPeer);
    if (device < 0 || device >= G.devices || peer < 0 || peer >= G.devices)
        return note(cudaErrorInvalidDevice);
    *can = device != peer;
    return cudaSuccess;
}

cudaError_t cudaDeviceSynchronize(void)
{
    BEGIN(cudaDeviceSynchronize);
    UNSAFE();
    finish_all();
    return note(G.lost);
}

/* ---- errors ---- */
cudaError_t cudaGetLastError(void)
{
    const std::lock_guard held(G.lock);
    if (!G.ready)
        setup();
    const cudaError_t e = me().last;
    me().last = G.lost;
    return e;
}

cudaError_t cudaPeekAtLastError(void)
{
    const std::lock_guard held(G.lock);
    if (!G.ready)
        setup();
    return me().last;
}

#define ERRORS(X) \
    X(cudaSuccess, "no error") \
    X(cudaErrorInvalidValue, "invalid argument") \
    X(cudaErrorMemoryAllocation, "out of memory") \
    X(cudaErrorInitializationError, "initialization error") \
    X(cudaErrorInvalidConfiguration, "invalid configuration argument") \
    X(cudaErrorInvalidMemcpyDirection, "invalid copy direction for memcpy") \
    X(cudaErrorInsufficientDriver, "CUDA driver version is insufficient for CUDA runtime version") \
    X(cudaErrorNoDevice, "no CUDA-capable device is detected") \
    X(cudaErrorInvalidDevice, "invalid device ordinal") \
    X(cudaErrorInvalidResourceHandle, "invalid resource handle") \
    X(cudaErrorNotReady, "device not ready") \
    X(cudaErrorIllegalAddress, "an illegal memory access was encountered") \
    X(cudaErrorLaunchOutOfResources, "too many resources requested for launch") \
    X(cudaErrorLaunchFailure, "unspecified launch failure") \
    X(cudaErrorECCUncorrectable, "uncorrectable ECC error encountered") \
    X(cudaErrorHardwareStackError, "hardware stack error") \
    X(cudaErrorNotPermitted, "operation not permitted") \
    X(cudaErrorNotSupported, "operation not supported") \
    X(cudaErrorStreamCaptureUnsupported, "operation not permitted when stream is capturing") \
    X(cudaErrorStreamCaptureInvalidated, "operation failed due to a previous error during capture") \
    X(cudaErrorStreamCaptureUnmatched, "capture was not initiated in this stream") \
    X(cudaErrorStreamCaptureUnjoined, "capturing stream has unjoined work") \
    X(cudaErrorStreamCaptureIsolation, "dependency created on uncaptured work in another stream") \
    X(cudaErrorStreamCaptureImplicit, "operation would make the legacy stream depend on a capturing blocking stream") \
    X(cudaErrorCapturedEvent, "operation not permitted on an event last recorded in a capturing stream") \
    X(cudaErrorStreamCaptureWrongThread, "attempt to terminate a thread-local capture sequence from another thread") \
    X(cudaErrorUnknown, "unknown error")

const char *cudaGetErrorName(cudaError_t e)
{
    switch ((int)e) {
#define X(name, text) \
    case name: \
        return #name;
        ERRORS(X)
#undef X
    }
    return "unrecognized error code";
}

const char *cudaGetErrorString(cudaError_t e)
{
    switch ((int)e) {
#define X(name, text) \
    case name: \
        return text;
        ERRORS(X)
#undef X
    }
    return "unrecognized error code";
}

/* ---- memory ---- */
cudaError_t cudaMalloc(void **out, size_t bytes)
{
    BEGIN(cudaMalloc);
    UNSAFE();
    if (bytes == 0) {
        *out = nullptr;
        return cudaSuccess;
    }
    const int device = me().device;
    const size_t size = (bytes + alignment - 1) / alignment * alignment;
    if (size < bytes || size > G.bytes)
        return note(cudaErrorMemoryAllocation);
    const size_t mapped = (size + page_bytes - 1) / page_bytes * page_bytes;
    /* The first gap with room for it and a closed page on both sides. */
    uintptr_t low = G.arena + page_bytes;
    for (const auto &[at, a] : G.allocations) {
        if (low + mapped + page_bytes <= a.low)
            break;
        low = a.low + a.mapped + page_bytes;
    }
    if (low + mapped + page_bytes > G.arena + arena_bytes)
        return note(cudaErrorMemoryAllocation);
    if (!take(device, size))
        return note(cudaErrorMemoryAllocation);
    if (!map_fresh(low, mapped, G.closed)) {
        unmap(low, mapped);
        give_back(device, size);
        return note(cudaErrorMemoryAllocation);
    }
    const uintptr_t at = low + mapped - size;
    G.allocations[at] = {low, mapped, at, bytes, device};
    *out = (void *)at;
    return cudaSuccess;
}

cudaError_t cudaFree(void *p)
{
    BEGIN(cudaFree);
    UNSAFE();
    if (p == nullptr)
        return cudaSuccess;
    finish_all();
    const auto it = G.allocations.find((uintptr_t)p);
    if (it == G.allocations.end()) {
        standin_say("cudaFree: %p was not allocated", p);
        return note(cudaErrorInvalidValue);
    }
    const allocation a = it->second;
    {
        const opened access;
        const auto *low = (const unsigned char *)a.low, *high = low + a.mapped;
        const auto touched = [](unsigned char c) { return c != fresh; };
        if (std::any_of(low, (const unsigned char *)a.at, touched) || std::any_of((const unsigned char *)a.at + a.bytes, high, touched))
            standin_lose(cudaErrorIllegalAddress, "something wrote outside of the allocation of %zu bytes at %p", a.bytes, p);
    }
    give_back(a.device, (a.bytes + alignment - 1) / alignment * alignment);
    G.allocations.erase(it);
    unmap(a.low, a.mapped);
    return note(G.lost);
}

cudaError_t cudaMemGetInfo(size_t *available, size_t *total)
{
    BEGIN(cudaMemGetInfo);
    *available = G.bytes - (size_t)G.used[me().device].now;
    *total = G.bytes;
    return cudaSuccess;
}

static cudaError_t host_alloc(void **out, size_t bytes)
{
    UNSAFE();
    void *p = nullptr;
    if (posix_memalign(&p, page_bytes, std::max<size_t>(bytes, 1)) != 0)
        return note(cudaErrorMemoryAllocation);
    memset(p, fresh, bytes);
    G.pinned[(uintptr_t)p] = bytes;
    *out = p;
    return cudaSuccess;
}

cudaError_t cudaMallocHost(void **out, size_t bytes)
{
    BEGIN(cudaMallocHost);
    return host_alloc(out, bytes);
}

cudaError_t cudaHostAlloc(void **out, size_t bytes, unsigned)
{
    BEGIN(cudaHostAlloc);
    return host_alloc(out, bytes);
}

cudaError_t cudaFreeHost(void *p)
{
    BEGIN(cudaFreeHost);
    UNSAFE();
    if (p == nullptr)
        return cudaSuccess;
    if (G.pinned.find((uintptr_t)p) == G.pinned.end()) {
        standin_say("cudaFreeHost: %p was not allocated", p);
        return note(cudaErrorInvalidValue);
    }
    finish_all();
    G.pinned.erase((uintptr_t)p);
    free(p);
    return note(G.lost);
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind, cudaStream_t handle)
{
    BEGIN(cudaMemcpyAsync);
    STREAM(handle);
    if (bytes == 0)
        return cudaSuccess;
    side t, f;
    if (const cudaError_t e = check_copy("cudaMemcpyAsync", to, from, bytes, kind, &t, &f); e != cudaSuccess)
        return note(e);
    if (stream->collecting && (t == PAGEABLE || f == PAGEABLE)) {
        standin_say("cudaMemcpyAsync of memory that is not pinned, in a graph");
        return spoil(stream->collecting.get(), cudaErrorStreamCaptureUnsupported);
    }
    /* From pageable memory it "might be synchronous": that is read late, as by a GPU that reaches it. */
    if (const cudaError_t e = queue_copy(stream, to, from, bytes, false); e != cudaSuccess)
        return e;
    if (t == PAGEABLE)
        finish(stream, G.place);
    return note(G.lost);
}

cudaError_t cudaPointerGetAttributes(cudaPointerAttributes *a, const void *p)
{
    BEGIN(cudaPointerGetAttributes);
    const allocation *const own = find(p);
    *a = {};
    a->type = own != nullptr ? cudaMemoryTypeDevice : is_pinned(p, 1) ? cudaMemoryTypeHost : cudaMemoryTypeUnregistered;
    a->device = own != nullptr ? own->device : a->type == cudaMemoryTypeHost ? me().device : cudaInvalidDeviceId;
    a->devicePointer = a->type == cudaMemoryTypeUnregistered ? nullptr : const_cast<void *>(p);
    a->hostPointer = own != nullptr ? nullptr : const_cast<void *>(p);
    return cudaSuccess;
}

/* Waits where CUDA does: not for what goes from pageable memory, which is staged, nor for what stays on the device. */
cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, cudaMemcpyKind kind)
{
    BEGIN(cudaMemcpy);
    CUstream_st *const stream = default_stream();
    UNSAFE();
    if (const cudaError_t e = implicit(stream); e != cudaSuccess)
        return e;
    if (bytes == 0)
        return cudaSuccess;
    side t, f;
    if (const cudaError_t e = check_copy("cudaMemcpy", to, from, bytes, kind, &t, &f); e != cudaSuccess)
        return note(e);
    if (const cudaError_t e = queue_copy(stream, to, from, bytes, f == PAGEABLE && t == DEVICE); e != cudaSuccess)
        return e;
    if (t != DEVICE || f == PINNED)
        finish(stream, G.place);
    return note(G.lost);
}

static cudaError_t set(const char *name, CUstream_st *stream, void *p, int value, size_t bytes)
{
    if (bytes == 0)
        return cudaSuccess;
    const side s = side_of(p, bytes);
    if (s == WRONG || s == PAGEABLE) {
        standin_say("%s: [%p, +%zu) is in no allocation of the device", name, p, bytes);
        return note(cudaErrorInvalidValue);
    }
    return queue(stream, [=] {
        memset(p, value, bytes);
        return true;
    });
}

cudaError_t cudaMemsetAsync(void *p, int value, size_t bytes, cudaStream_t handle)
{
    BEGIN(cudaMemsetAsync);
    STREAM(handle);
    return set("cudaMemsetAsync", stream, p, value, bytes);
}

cudaError_t cudaMemset(void *p, int value, size_t bytes)
{
    BEGIN(cudaMemset);
    UNSAFE();
    return set("cudaMemset", default_stream(), p, value, bytes);
}

/* ---- streams ---- */
cudaError_t cudaStreamCreateWithPriority(cudaStream_t *out, unsigned flags, int priority)
{
    BEGIN(cudaStreamCreateWithPriority);
    if (flags != cudaStreamDefault && flags != cudaStreamNonBlocking)
        return note(cudaErrorInvalidValue);
    auto *const s = new CUstream_st;
    s->device = me().device;
    s->blocking = flags == cudaStreamDefault;
    s->priority = priority;
    G.streams.push_back(s);
    *out = s;
    return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *out, unsigned flags)
{
    BEGIN(cudaStreamCreateWithFlags);
    return cudaStreamCreateWithPriority(out, flags, 0);
}

cudaError_t cudaStreamCreate(cudaStream_t *out)
{
    BEGIN(cudaStreamCreate);
    return cudaStreamCreateWithPriority(out, cudaStreamDefault, 0);
}

cudaError_t cudaDeviceGetStreamPriorityRange(int *least, int *greatest)
{
    BEGIN(cudaDeviceGetStreamPriorityRange);
    *least = 0;
    *greatest = -5;
    return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t handle)
{
    BEGIN(cudaStreamDestroy);
    STREAM(handle);
    if (is_default(stream))
        return note(cudaErrorInvalidResourceHandle);
    if (stream->collecting)
        stream->collecting->spoiled = true;
    finish(stream, UINT64_MAX);
    G.streams.erase(std::find(G.streams.begin(), G.streams.end(), stream));
    delete stream;
    return note(G.lost);
}

cudaError_t cudaStreamSynchronize(cudaStream_t handle)
{
    BEGIN(cudaStreamSynchronize);
    STREAM(handle);
    if (stream->collecting)
        return spoil(stream->collecting.get(), cudaErrorStreamCaptureUnsupported);
    if (const cudaError_t e = implicit(stream); e != cudaSuccess)
        return e;
    if (is_default(stream))
        for (size_t i = 0; i < G.streams.size(); i++)
            if (G.streams[i]->blocking && G.streams[i]->device == stream->device)
                finish(G.streams[i], UINT64_MAX);
    finish(stream, UINT64_MAX);
    return note(G.lost);
}

cudaError_t cudaStreamQuery(cudaStream_t handle)
{
    BEGIN(cudaStreamQuery);
    STREAM(handle);
    if (stream->collecting)
        return spoil(stream->collecting.get(), cudaErrorStreamCaptureUnsupported);
    const uint64_t place = stream->queue.empty() ? 0 : stream->queue.back().place;
    const bool done = poll(stream, place, &stream->asked);
    return note(G.lost != cudaSuccess ? G.lost : done ? cudaSuccess : cudaErrorNotReady);
}

cudaError_t cudaLaunchHostFunc(cudaStream_t handle, cudaHostFn_t f, void *data)
{
    BEGIN(cudaLaunchHostFunc);
    STREAM(handle);
    return queue(stream, [=] {
        f(data);
        return true;
    });
}

/* ---- events ---- */
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *out, unsigned flags)
{
    BEGIN(cudaEventCreateWithFlags);
    *out = new CUevent_st;
    (*out)->timing = !(flags & cudaEventDisableTiming);
    return cudaSuccess;
}

cudaError_t cudaEventCreate(cudaEvent_t *out)
{
    BEGIN(cudaEventCreate);
    return cudaEventCreateWithFlags(out, cudaEventDefault);
}

cudaError_t cudaEventDestroy(cudaEvent_t e)
{
    const call begun("cudaEventDestroy"); /* what is destroyed is gone, whatever else is wrong */
    delete e;
    return note(e == nullptr ? cudaErrorInvalidResourceHandle : begun.error);
}

cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t handle)
{
    BEGIN(cudaEventRecord);
    STREAM(handle);
    if (e == nullptr)
        return note(cudaErrorInvalidResourceHandle);
    event_state &s = *e->state;
    if (stream->collecting) {
        s.collected = stream->collecting;
        s.lane = stream->lane;
        s.upto = stream->collecting->lanes[(size_t)stream->lane].nodes.size();
        return cudaSuccess;
    }
    if (const cudaError_t error = implicit(stream); error != cudaSuccess)
        return error;
    s.collected = nullptr;
    s.recorded++;
    s.stream = stream;
    s.place = ++G.place;
    stream->queue.push_back({.place = s.place, .run = nullptr, .event = e->state, .version = s.recorded});
    if (G.eager) {
        const opened access;
        int64_t budget = INT64_MAX;
        advance(stream, s.place, &budget);
    }
    return cudaSuccess;
}

cudaError_t cudaEventQuery(cudaEvent_t e)
{
    BEGIN(cudaEventQuery);
    if (e == nullptr)
        return note(cudaErrorInvalidResourceHandle);
    event_state &s = *e->state;
    if (s.collected)
        return spoil(s.collected.get(), cudaErrorCapturedEvent);
    const bool done = s.done == s.recorded || poll(s.stream, s.place, &s.asked);
    return note(G.lost != cudaSuccess ? G.lost : done ? cudaSuccess : cudaErrorNotReady);
}

cudaError_t cudaEventSynchronize(cudaEvent_t e)
{
    BEGIN(cudaEventSynchronize);
    if (e == nullptr)
        return note(cudaErrorInvalidResourceHandle);
    event_state &s = *e->state;
    if (s.collected)
        return spoil(s.collected.get(), cudaErrorCapturedEvent);
    if (s.done < s.recorded)
        finish(s.stream, s.place);
    return note(G.lost);
}

cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t start, cudaEvent_t end)
{
    BEGIN(cudaEventElapsedTime);
    if (start == nullptr || end == nullptr || !start->timing || !end->timing || start->state->recorded == 0 || end->state->recorded == 0)
        return note(cudaErrorInvalidResourceHandle);
    if (start->state->done < start->state->recorded || end->state->done < end->state->recorded)
        return note(cudaErrorNotReady);
    *ms = (float)((end->state->time - start->state->time) * 1e3);
    return cudaSuccess;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t handle, cudaEvent_t e, unsigned)
{
    BEGIN(cudaStreamWaitEvent);
    STREAM(handle);
    if (e == nullptr)
        return note(cudaErrorInvalidResourceHandle);
    event_state &s = *e->state;
    if (s.collected && std::find(G.captures.begin(), G.captures.end(), s.collected) == G.captures.end())
        return note(cudaErrorInvalidValue); /* of a graph that is made */
    if (s.collected) {
        capture &c = *s.collected;
        if (!stream->collecting) {
            if (is_default(stream))
                return spoil(&c, cudaErrorStreamCaptureImplicit);
            stream->collecting = s.collected;
            stream->lane = (int)c.lanes.size();
            c.lanes.emplace_back();
        } else if (stream->collecting != s.collected) {
            c.spoiled = true;
            return spoil(stream->collecting.get(), cudaErrorStreamCaptureUnsupported);
        }
        if (s.lane != stream->lane) {
            c.lanes[(size_t)s.lane].joined = std::max(c.lanes[(size_t)s.lane].joined, s.upto);
            c.lanes[(size_t)stream->lane].nodes.push_back({nullptr, s.lane, s.upto});
        }
        return cudaSuccess;
    }
    if (stream->collecting && s.recorded > 0)
        return spoil(stream->collecting.get(), cudaErrorStreamCaptureIsolation);
    if (s.done < s.recorded)
        stream->queue.push_back({.place = ++G.place, .run = nullptr, .event = e->state, .version = s.recorded, .other = s.stream, .other_place = s.place});
    return cudaSuccess;
}

/* ---- graphs ---- */
cudaError_t cudaStreamBeginCapture(cudaStream_t handle, cudaStreamCaptureMode mode)
{
    BEGIN(cudaStreamBeginCapture);
    STREAM(handle);
    if (is_default(stream))
        return note(cudaErrorStreamCaptureUnsupported);
    if (stream->collecting)
        return note(cudaErrorIllegalState);
    stream->collecting = std::make_shared<capture>();
    stream->collecting->lanes.resize(1);
    stream->collecting->mode = mode;
    stream->collecting->owner = pthread_self();
    stream->lane = 0;
    G.captures.push_back(stream->collecting);
    return cudaSuccess;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t handle, cudaStreamCaptureStatus *status)
{
    BEGIN(cudaStreamIsCapturing);
    STREAM(handle);
    *status = !stream->collecting ? cudaStreamCaptureStatusNone
        : stream->collecting->spoiled ? cudaStreamCaptureStatusInvalidated
                                      : cudaStreamCaptureStatusActive;
    return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t handle, cudaGraph_t *out)
{
    BEGIN(cudaStreamEndCapture);
    STREAM(handle);
    *out = nullptr;
    if (!stream->collecting || stream->lane != 0)
        return note(cudaErrorStreamCaptureUnmatched);
    const auto c = stream->collecting;
    if (c->mode != cudaStreamCaptureModeRelaxed && !pthread_equal(c->owner, pthread_self()))
        return note(cudaErrorStreamCaptureWrongThread);
    for (CUstream_st *s : G.streams)
        if (s->collecting == c)
            s->collecting = nullptr;
    G.captures.erase(std::find(G.captures.begin(), G.captures.end(), c));
    if (c->spoiled)
        return note(cudaErrorStreamCaptureInvalidated);
    for (size_t l = 1; l < c->lanes.size(); l++)
        if (c->lanes[l].joined < c->lanes[l].nodes.size())
            return note(cudaErrorStreamCaptureUnjoined);
    *out = new CUgraph_st{std::make_shared<std::vector<lane>>(std::move(c->lanes))};
    return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *out, cudaGraph_t graph, unsigned long long)
{
    BEGIN(cudaGraphInstantiate);
    if (graph == nullptr)
        return note(cudaErrorInvalidValue);
    *out = new CUgraphExec_st{graph->lanes};
    return cudaSuccess;
}

cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t *nodes, size_t *count)
{
    BEGIN(cudaGraphGetNodes);
    if (graph == nullptr || nodes != nullptr)
        return note(cudaErrorInvalidValue); /* their number alone is known here */
    *count = 0;
    for (const lane &l : *graph->lanes)
        for (const node &n : l.nodes)
            *count += n.lane < 0;
    return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t handle)
{
    BEGIN(cudaGraphLaunch);
    STREAM(handle);
    if (exec == nullptr)
        return note(cudaErrorInvalidValue);
    if (stream->collecting)
        return spoil(stream->collecting.get(), cudaErrorStreamCaptureUnsupported);
    const auto r = std::make_shared<replay>(*exec->lanes);
    return queue(stream, [r] { return r->run(); });
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec)
{
    const call begun("cudaGraphExecDestroy");
    delete exec;
    return note(begun.error);
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph)
{
    const call begun("cudaGraphDestroy");
    delete graph;
    return note(begun.error);
}

cudaError_t cudaGraphUpload(cudaGraphExec_t exec, cudaStream_t handle)
{
    BEGIN(cudaGraphUpload);
    STREAM(handle);
    return exec && !stream->collecting ? cudaSuccess : note(cudaErrorInvalidValue);
}

/* ---- kernels ---- */
static std::map<const void *, size_t> shared_limits; /* that were asked for */

cudaError_t cudaFuncSetAttribute(const void *kernel, cudaFuncAttribute attr, int value)
{
    BEGIN(cudaFuncSetAttribute);
    if (attr == cudaFuncAttributeMaxDynamicSharedMemorySize) {
        if (value < 0 || (size_t)value > shared_most)
            return note(cudaErrorInvalidValue);
        shared_limits[kernel] = (size_t)value;
    } else if (attr != cudaFuncAttributePreferredSharedMemoryCarveout) {
        return note(cudaErrorInvalidValue);
    }
    return cudaSuccess;
}

} // extern "C"

size_t standin_shared_limit(const void *kernel)
{
    const auto it = shared_limits.find(kernel);
    return it == shared_limits.end() ? shared_default : std::max(it->second, shared_default);
}

