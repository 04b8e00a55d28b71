/* NCCL on the host, over MPI: the calls that lockstep makes, with what NCCL demands of its callers.
 *
 * The ranks of a communicator are those of MPI_COMM_WORLD. A group is a message to and from each peer; a message has a head that says which
 * send it is, so that sends and receives that do not fit are told and not mixed up. Sums of allreduce and reduce-scatter go in the order of
 * the ranks.
 *
 * When work is done. On the stand-in of the CUDA runtime (LK_STANDIN) a group is queued work that asks MPI and never blocks
 * (standin_queue_poll): what is received arrives as late as on a GPU. Only its sends are hurried: the call that launches the group (ncclGroupEnd,
 * or ncclCommGetAsyncError until it no longer says ncclInProgress) goes on until the stream has come to the group and the sends are with MPI.
 * Otherwise a rank that goes on to a blocking call of MPI would keep its sends to itself, since queued work is done only while somebody waits
 * for it, and a peer that waits for them before it makes that call would wait for ever. A real GPU has no such trouble.
 * On the real runtime (for ranks that share a GPU, STANDIN_NCCL_SHARE=1), or with STANDIN_NCCL_SYNC=1, there is no work of that kind, and a
 * launch goes on until all of the group is done.
 *
 * From the environment:
 *   STANDIN_NCCL_SHARE=1          ranks may share a device; without it: "Duplicate GPU detected", as NCCL says
 *   STANDIN_NCCL_FAIL=what:n[:result],...  on this rank, from when the variable changes:
 *       the n-th call of `what` (ncclSend, ncclGroupEnd, ncclCommInitRankConfig ...) returns `result`, ncclInternalError if not given;
 *       async:n   behind the n-th group that is launched from now, ncclCommGetAsyncError says `result`, ncclRemoteError if not given;
 *       hang:n    the n-th group that is launched from now sends nothing and never ends;
 *       absent:n  the n-th communicator from now is not joined: this rank waits for ever
 *   STANDIN_NCCL_PATIENCE=s       a group that waits longer says so (30 s) */
#define OMPI_SKIP_MPICXX 1
#define MPICH_SKIP_MPICXX 1
#ifdef LK_STANDIN
#include "standin/standin.h"
#endif

#include <cuda_runtime_api.h>
#include <mpi.h>
#include <nccl.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <unistd.h>
#include <vector>

namespace {

enum kind { SEND, RECV, ALL_REDUCE, REDUCE_SCATTER, ALL_GATHER };
const char *const kind_name[] = {"ncclSend", "ncclRecv", "ncclAllReduce", "ncclReduceScatter", "ncclAllGather"};

/* In front of every message. */
struct head {
    uint64_t number; /* of the message from this rank to that one */
    uint64_t count;
    int32_t what, type, op, pad;
};

struct operation {
    kind what;
    const char *send;
    char *recv;
    size_t count;
    ncclDataType_t type;
    ncclRedOp_t op;
    int peer;
    cudaStream_t stream;
};

struct outgoing {
    std::vector<char> data;
    MPI_Request request;
};
struct incoming {
    head want;
    int from;
    char *to;    /* device memory; NULL: into `data`, for a sum */
    size_t bytes;
    std::vector<char> data;
    MPI_Request request = MPI_REQUEST_NULL;
    bool begun = false, done = false;
};
struct sum { /* of one's own part and those of the others, in the order of the ranks */
    operation o;
    std::vector<char> own;
    size_t first_in; /* in `in`: of ranks 0.. without this one */
};

struct communicator;

/* What is launched as one. */
struct group {
    std::shared_ptr<communicator> comm;
    std::vector<operation> operations;
    cudaStream_t stream;
    uint64_t number;
    bool posted = false, done = false, hangs = false, told = false;
    std::vector<outgoing> out;
    std::vector<incoming> in;
    std::vector<sum> sums;
    double since = 0;
    bool advance();
    void post();
    bool receive(incoming &i);
    void add_up();
    void wait_told();
};

struct hello {
    char host[64], bus[32];
    int32_t nranks, rank;
};

struct communicator {
    int rank, nranks, device, tag;
    bool blocking;
    bool dead = false; /* aborted: what is queued ends without a word */
    bool finalized = false;
    bool joined = false, absent = false;
    std::vector<hello> hellos;
    std::vector<MPI_Request> requests;
    ncclResult_t error = ncclSuccess;
    std::string text;
    std::vector<uint64_t> sent, expected; /* messages to and from each rank */
    uint64_t launched = 0;
    std::vector<std::shared_ptr<group>> waiting; /* to be launched, in this order */
    std::vector<std::shared_ptr<group>> flying;
    bool queued = false; /* the first of `waiting` is on its stream */
    void fail(ncclResult_t e, const char *format, ...) __attribute__((format(printf, 3, 4)));
    void join();
    void launch();
};

} // namespace

struct ncclComm {
    std::shared_ptr<communicator> c;
};

namespace {

struct failure {
    std::string what;
    long n;
    int result; /* -1: as usual */
};

/* Never destroyed: queued work may outlive the end of main. */
struct state {
    std::vector<ncclComm_t> comms;
    int depth = 0;
    std::vector<std::pair<ncclComm_t, operation>> open; /* of the group that is being made */
    ncclResult_t open_error = ncclSuccess;
    std::string last_error, calls, fail_text;
    std::vector<failure> failures;
    std::vector<std::shared_ptr<communicator>> graves; /* MPI may still read what an aborted one was sending */
    unsigned ids = 0;
};
state &S = *new state;

double now()
{
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
void say(const char *format, ...)
{
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    S.last_error = text;
    fprintf(stderr, "standin nccl: %s\n", text);
}

void record(const char *format, ...) __attribute__((format(printf, 1, 2)));
void record(const char *format, ...)
{
    char text[256];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (!S.calls.empty())
        S.calls += ' ';
    S.calls += text;
}

void read_failures()
{
    const char *const text = getenv("STANDIN_NCCL_FAIL");
    if (S.fail_text == (text ? text : ""))
        return;
    S.fail_text = text ? text : "";
    S.failures.clear();
    for (size_t at = 0; at < S.fail_text.size();) {
        const size_t end = std::min(S.fail_text.find(',', at), S.fail_text.size());
        const std::string item = S.fail_text.substr(at, end - at);
        const size_t first = item.find(':'), second = first == std::string::npos ? first : item.find(':', first + 1);
        if (first == std::string::npos)
            say("STANDIN_NCCL_FAIL=%s: what:n or what:n:result", item.c_str());
        else
            S.failures.push_back({item.substr(0, first), atol(item.c_str() + first + 1),
                second == std::string::npos ? -1 : atoi(item.c_str() + second + 1)});
        at = end + 1;
    }
}

bool fails(const char *what, int *result)
{
    read_failures();
    for (failure &f : S.failures)
        if (f.what == what && f.n > 0 && --f.n == 0) {
            if (f.result >= 0)
                *result = f.result;
            return true;
        }
    return false;
}

ncclResult_t injected(const char *call)
{
    int result = ncclInternalError;
    if (!fails(call, &result))
        return ncclSuccess;
    say("%s was to fail", call);
    return (ncclResult_t)result;
}
#define MAY_FAIL(call) \
    do { \
        if (const ncclResult_t e = injected(#call); e != ncclSuccess) \
            return e; \
    } while (0)

size_t size_of(ncclDataType_t t)
{
    switch (t) {
    case ncclInt8:
    case ncclUint8:
        return 1;
    case ncclFloat16:
    case ncclBfloat16:
        return 2;
    case ncclInt32:
    case ncclUint32:
    case ncclFloat32:
        return 4;
    case ncclInt64:
    case ncclUint64:
    case ncclFloat64:
        return 8;
    default:
        return 0;
    }
}

template <class T> void add(char *to, const char *from, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        T a, b;
        memcpy(&a, to + i * sizeof a, sizeof a);
        memcpy(&b, from + i * sizeof b, sizeof b);
        a = a + b;
        memcpy(to + i * sizeof a, &a, sizeof a);
    }
}

void add(ncclDataType_t t, char *to, const char *from, size_t count)
{
    if (t == ncclFloat32)
        add<float>(to, from, count);
    else if (t == ncclFloat64)
        add<double>(to, from, count);
    else if (t == ncclInt64)
        add<int64_t>(to, from, count);
}

/* Groups are queued work. */
bool lazy()
{
#ifdef LK_STANDIN
    const char *const text = getenv("STANDIN_NCCL_SYNC");
    return text == nullptr || strcmp(text, "1") != 0;
#else
    return false;
#endif
}

/* Device memory, from where the group runs. */
void copy(cudaStream_t stream, void *to, const void *from, size_t bytes, cudaMemcpyKind kind)
{
    if (lazy()) {
        memcpy(to, from, bytes);
    } else { /* on its stream: the default one is not in order with it */
        cudaMemcpyAsync(to, from, bytes, kind, stream);
        cudaStreamSynchronize(stream);
    }
}

void read_device(cudaStream_t stream, void *to, const void *from, size_t bytes)
{
    copy(stream, to, from, bytes, cudaMemcpyDeviceToHost);
}

void write_device(cudaStream_t stream, void *to, const void *from, size_t bytes)
{
    copy(stream, to, from, bytes, cudaMemcpyHostToDevice);
}

/* Gets on with what is queued, and leaves no error behind. */
bool stream_is_idle(cudaStream_t stream)
{
    const cudaError_t e = cudaStreamQuery(stream);
    if (e == cudaErrorNotReady)
        (void)cudaGetLastError();
    return e == cudaSuccess;
}

void communicator::fail(ncclResult_t e, const char *format, ...)
{
    char buffer[900];
    va_list args;
    va_start(args, format);
    vsnprintf(buffer, sizeof buffer, format, args);
    va_end(args);
    say("rank %d: %s", rank, buffer);
    if (error == ncclSuccess) {
        error = e;
        text = buffer;
    }
}

/* ---- beginning: who is where ---- */

/* Looks once more whether all are here. */
void communicator::join()
{
    int all = 0;

    if (joined || absent || error != ncclSuccess)
        return;
    MPI_Testall((int)requests.size(), requests.data(), &all, MPI_STATUSES_IGNORE);
    if (!all)
        return;
    joined = true;
    const char *const share = getenv("STANDIN_NCCL_SHARE");
    for (int b = 0; b < nranks; b++) {
        if (hellos[(size_t)b].nranks != nranks || hellos[(size_t)b].rank != b)
            fail(ncclInvalidArgument, "rank %d joined as %d of %d, here there are %d", b, hellos[(size_t)b].rank, hellos[(size_t)b].nranks, nranks);
        for (int a = 0; a < b && (share == nullptr || strcmp(share, "1") != 0); a++)
            if (strcmp(hellos[(size_t)a].host, hellos[(size_t)b].host) == 0 && strcmp(hellos[(size_t)a].bus, hellos[(size_t)b].bus) == 0)
                fail(ncclInvalidUsage, "Duplicate GPU detected : rank %d and rank %d both on CUDA device %s", a, b, hellos[(size_t)a].bus);
    }
}

/* ---- groups ---- */

void group::post()
{
    communicator &c = *comm;
    const auto send = [&](int to, const operation &o, const char *from, size_t bytes) {
        head h = {c.sent[(size_t)to]++, o.count, o.what, o.type, o.op, 0};
        out.push_back({std::vector<char>(sizeof h + bytes), MPI_REQUEST_NULL});
        memcpy(out.back().data.data(), &h, sizeof h);
        if (bytes > 0)
            read_device(stream, out.back().data.data() + sizeof h, from, bytes);
    };
    const auto expect = [&](int from, const operation &o, kind what, char *to, size_t bytes) {
        incoming i;
        i.want = {c.expected[(size_t)from]++, o.count, what, o.type, o.op, 0};
        i.from = from;
        i.to = to;
        i.bytes = bytes;
        in.push_back(std::move(i));
    };
    std::vector<int> peers; /* of `out` */
    for (const operation &o : operations) {
        const size_t size = size_of(o.type), bytes = o.count * size;
        if (o.what == SEND) {
            send(o.peer, o, o.send, bytes);
            peers.push_back(o.peer);
        } else if (o.what == RECV) {
            expect(o.peer, o, SEND, o.recv, bytes);
        } else {
            const size_t own = o.what == REDUCE_SCATTER ? (size_t)c.rank * bytes : 0;
            if (o.what != ALL_GATHER)
                sums.push_back({o, std::vector<char>(bytes), in.size()});
            if (o.what != ALL_GATHER && bytes > 0)
                read_device(stream, sums.back().own.data(), o.send + own, bytes);
            for (int r = 0; r < c.nranks; r++) {
                if (r == c.rank)
                    continue;
                send(r, o, o.send + (o.what == REDUCE_SCATTER ? (size_t)r * bytes : 0), bytes);
                peers.push_back(r);
                expect(r, o, o.what, o.what == ALL_GATHER ? o.recv + (size_t)r * bytes : nullptr, bytes);
            }
            if (o.what == ALL_GATHER && bytes > 0 && o.recv + (size_t)c.rank * bytes != o.send) {
                std::vector<char> data(bytes);
                read_device(stream, data.data(), o.send, bytes);
                write_device(stream, o.recv + (size_t)c.rank * bytes, data.data(), bytes);
            }
        }
    }
    for (size_t i = 0; i < out.size() && !hangs; i++)
        MPI_Isend(out[i].data.data(), (int)out[i].data.size(), MPI_BYTE, peers[i], c.tag, MPI_COMM_WORLD, &out[i].request);
    posted = true;
    since = now();
}

bool group::receive(incoming &i)
{
    communicator &c = *comm;
    int flag = 0;

    if (!i.begun) {
        MPI_Message message;
        MPI_Status status;
        int bytes;
        MPI_Improbe(i.from, c.tag, MPI_COMM_WORLD, &flag, &message, &status);
        if (!flag)
            return false;
        MPI_Get_count(&status, MPI_BYTE, &bytes);
        i.data.resize((size_t)bytes);
        MPI_Imrecv(i.data.data(), bytes, MPI_BYTE, &message, &i.request);
        i.begun = true;
    }
    MPI_Test(&i.request, &flag, MPI_STATUS_IGNORE);
    if (!flag)
        return false;
    i.done = true;
    head got;
    memcpy(&got, i.data.data(), sizeof got);
    if (memcmp(&got, &i.want, sizeof got) != 0) {
        c.fail(ncclInvalidUsage,
            "group %llu: rank %d sent its message %llu (%s, %llu elements of type %d), and message %llu (%s, %llu elements of type %d) is expected",
            (unsigned long long)number, i.from, (unsigned long long)got.number, kind_name[got.what], (unsigned long long)got.count, got.type,
            (unsigned long long)i.want.number, kind_name[i.want.what], (unsigned long long)i.want.count, i.want.type);
        return true;
    }
    if (i.to != nullptr && i.bytes > 0)
        write_device(stream, i.to, i.data.data() + sizeof got, i.bytes);
    return true;
}

void group::add_up()
{
    for (sum &s : sums) {
        const size_t bytes = s.own.size();
        std::vector<char> total(bytes);
        for (int r = 0, k = 0; r < comm->nranks; r++) {
            const char *const part = r == comm->rank ? s.own.data() : in[s.first_in + (size_t)k].data.data() + sizeof(head);
            k += r != comm->rank;
            if (r == 0)
                std::copy(part, part + bytes, total.begin());
            else
                add(s.o.type, total.data(), part, s.o.count);
        }
        if (bytes > 0)
            write_device(stream, s.o.recv, total.data(), bytes);
    }
}

void group::wait_told()
{
    const char *const text = getenv("STANDIN_NCCL_PATIENCE");

    if (told || now() - since < (text ? atof(text) : 30.0))
        return;
    told = true;
    for (const incoming &i : in)
        if (!i.done)
            say("rank %d: group %llu has waited long for %s from rank %d (%llu elements): does that rank send?", comm->rank, (unsigned long long)number,
                kind_name[i.want.what], i.from, (unsigned long long)i.want.count);
}

/* Goes on as far as it can without waiting. */
bool group::advance()
{
    if (comm->dead || done)
        return done = true;
    if (!posted)
        post();
    if (hangs)
        return false;
    bool all = true;
    for (incoming &i : in)
        if (!i.done && !receive(i))
            all = false;
    for (outgoing &o : out) {
        int flag = 0;
        MPI_Test(&o.request, &flag, MPI_STATUS_IGNORE);
        all = all && flag;
    }
    if (comm->error != ncclSuccess)
        return false; /* as on a GPU: it hangs until it is aborted */
    if (!all) {
        wait_told();
        return false;
    }
    add_up();
    return done = true;
}

/* One step of launching what has been grouped; see the head of the file. */
void communicator::launch()
{
    if (waiting.empty() || error != ncclSuccess)
        return;
    const std::shared_ptr<group> g = waiting.front();
    const bool queue = lazy();
    if (!queued && (queue || stream_is_idle(g->stream))) {
        queued = true;
        flying.push_back(g);
#ifdef LK_STANDIN
        if (queue)
            standin_queue_poll(g->stream, [g] { return g->advance(); });
#endif
    }
    if (queue && !g->posted)
        (void)stream_is_idle(g->stream);
    if (queue ? !g->posted : !queued || !g->advance())
        return;
    waiting.erase(waiting.begin());
    queued = false;
    int result = ncclRemoteError;
    if (fails("async", &result))
        fail((ncclResult_t)result, "an error behind group %llu was wanted", (unsigned long long)g->number);
}

void forget_done(communicator &c)
{
    c.flying.erase(std::remove_if(c.flying.begin(), c.flying.end(), [](const auto &g) { return g->done; }), c.flying.end());
}

ncclResult_t check(const char *call, ncclComm_t comm)
{
    if (std::find(S.comms.begin(), S.comms.end(), comm) != S.comms.end())
        return ncclSuccess;
    say("%s: not a communicator, or one that was destroyed or aborted", call);
    return ncclInvalidArgument;
}

/* Where the communicator is: what a communicator that does not block says of the calls before. */
ncclResult_t look(communicator &c)
{
    c.join();
    c.launch();
    if (c.error != ncclSuccess)
        return c.error;
    forget_done(c);
    return c.joined && c.waiting.empty() && !(c.finalized && !c.flying.empty()) ? ncclSuccess : ncclInProgress;
}

ncclResult_t until_ready(communicator &c)
{
    if (!c.blocking)
        return ncclInProgress;
    ncclResult_t e;
    while ((e = look(c)) == ncclInProgress)
        usleep(20);
    return e;
}

ncclResult_t launch_open()
{
    std::vector<std::pair<ncclComm_t, operation>> open = std::move(S.open);
    const ncclResult_t wrong = S.open_error;
    ncclResult_t result = ncclSuccess;

    S.open.clear();
    S.open_error = ncclSuccess;
    if (wrong != ncclSuccess)
        return wrong;
    while (!open.empty()) {
        const ncclComm_t comm = open.front().first;
        communicator &c = *comm->c;
        const auto g = std::make_shared<group>();
        int ignored;
        g->comm = comm->c;
        g->stream = open.front().second.stream;
        g->number = ++c.launched;
        g->hangs = fails("hang", &ignored);
        for (const auto &[of, o] : open)
            if (of == comm) {
                if (o.stream != g->stream) {
                    say("a group of one communicator on two streams: that is not made here");
                    return ncclInvalidUsage;
                }
                g->operations.push_back(o);
            }
        open.erase(std::remove_if(open.begin(), open.end(), [&](const auto &p) { return p.first == comm; }), open.end());
        c.waiting.push_back(g);
        const ncclResult_t e = until_ready(c);
        if (result == ncclSuccess || e > result)
            result = e == ncclInProgress && result != ncclSuccess ? result : e;
    }
    return result;
}

ncclResult_t add_operation(ncclComm_t comm, const operation &o)
{
    const char *const call = kind_name[o.what];
    const auto wrong = [](ncclResult_t e) {
        if (S.depth > 0 && S.open_error == ncclSuccess)
            S.open_error = e; /* the group fails at its end as well */
        return e;
    };

    if (const ncclResult_t e = injected(call); e != ncclSuccess)
        return wrong(e);
    if (const ncclResult_t e = check(call, comm); e != ncclSuccess)
        return wrong(e);
    communicator &c = *comm->c;
    int device = -1;
    cudaGetDevice(&device);
    if (c.error != ncclSuccess)
        return wrong(c.error);
    if (!c.joined || c.finalized || !c.waiting.empty()) {
        say("%s: Attempt to use communicator before the previous operation returned ncclSuccess", call);
        return wrong(ncclInvalidArgument);
    }
    const size_t size = size_of(o.type), bytes = o.count * size;
    const bool sums = o.what == ALL_REDUCE || o.what == REDUCE_SCATTER;
    if (size == 0 || (sums && (o.op != ncclSum || (o.type != ncclFloat32 && o.type != ncclFloat64 && o.type != ncclInt64)))) {
        say("%s: type %d, operation %d: not made here", call, o.type, o.op);
        return wrong(ncclInvalidArgument);
    }
    if (o.peer < 0 || o.peer >= c.nranks) {
        say("%s : invalid root %d (root should be in the 0..%d range)", call, o.peer, c.nranks - 1);
        return wrong(ncclInvalidArgument);
    }
    if (device != c.device) {
        say("%s: the communicator is of device %d, and device %d is current", call, c.device, device);
        return wrong(ncclInvalidArgument);
    }
#ifdef LK_STANDIN
    const size_t in = o.what == RECV ? 0 : o.what == REDUCE_SCATTER ? bytes * (size_t)c.nranks : bytes;
    const size_t out = o.what == SEND ? 0 : o.what == ALL_GATHER ? bytes * (size_t)c.nranks : bytes;
    if ((in > 0 && !standin_in_device(o.send, in)) || (out > 0 && !standin_in_device(o.recv, out))) {
        say("%s: %zu bytes at %p, %zu at %p: not all of it is memory of the device", call, in, (const void *)o.send, out, (void *)o.recv);
        return wrong(ncclInvalidArgument);
    }
#else
    (void)bytes;
#endif
    if (o.what <= RECV)
        record("%s(%d,%zu)", call + 4, o.peer, o.count);
    else
        record("%s(%zu)", call + 4, o.count);
    S.open.push_back({comm, o});
    if (S.depth > 0)
        return c.blocking ? ncclSuccess : look(c);
    return launch_open();
}

} // namespace

/* ---- for tests ---- */
extern "C" {
const char *standin_nccl_calls(void);
void standin_nccl_forget(void);
}

/* The calls since the last standin_nccl_forget, in one line. */
const char *standin_nccl_calls(void)
{
    return S.calls.c_str();
}

void standin_nccl_forget(void)
{
    S.calls.clear();
}

/* ---- NCCL ---- */
extern "C" {

ncclResult_t ncclGetVersion(int *version)
{
    *version = NCCL_VERSION_CODE;
    return ncclSuccess;
}

const char *ncclGetErrorString(ncclResult_t result)
{
    switch (result) {
    case ncclSuccess:
        return "no error";
    case ncclUnhandledCudaError:
        return "unhandled cuda error (run with NCCL_DEBUG=INFO for details)";
    case ncclSystemError:
        return "unhandled system error (run with NCCL_DEBUG=INFO for details)";
    case ncclInternalError:
        return "internal error - please report this issue to the NCCL developers";
    case ncclInvalidArgument:
        return "invalid argument (run with NCCL_DEBUG=WARN for details)";
    case ncclInvalidUsage:
        return "invalid usage (run with NCCL_DEBUG=WARN for details)";
    case ncclRemoteError:
        return "remote process exited or there was a network error";
    case ncclInProgress:
        return "NCCL operation in progress";
    default:
        return "unknown result code";
    }
}

const char *ncclGetLastError(ncclComm_t)
{
    return S.last_error.c_str();
}

ncclResult_t ncclGetUniqueId(ncclUniqueId *id)
{
    MAY_FAIL(ncclGetUniqueId);
    record("GetUniqueId");
    memset(id, 0, sizeof *id);
    const uint32_t part[] = {0x4e43434c, (uint32_t)getpid(), ++S.ids};
    memcpy(id->internal, part, sizeof part);
    return ncclSuccess;
}

ncclResult_t ncclCommInitRankConfig(ncclComm_t *comm, int nranks, ncclUniqueId id, int rank, ncclConfig_t *config)
{
    int began = 0, size = 0, own = -1, ignored;
    uint32_t part[3];

    *comm = nullptr;
    MAY_FAIL(ncclCommInitRankConfig);
    record("CommInitRankConfig(%d,%d)", nranks, rank);
    MPI_Initialized(&began);
    if (!began) {
        say("MPI has not begun");
        return ncclSystemError;
    }
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    MPI_Comm_rank(MPI_COMM_WORLD, &own);
    memcpy(part, id.internal, sizeof part);
    if (part[0] != 0x4e43434c || nranks != size || rank != own || config == nullptr || config->magic != 0xcafebeef) {
        say("rank %d of %d in a world of %d, where this is rank %d: id, ranks or config are wrong", rank, nranks, size, own);
        return ncclInvalidArgument;
    }
    const auto c = std::make_shared<communicator>();
    c->rank = rank;
    c->nranks = nranks;
    c->blocking = config->blocking != 0; /* undefined: it blocks */
    c->tag = 1000 + (int)((part[1] * 2654435761u + part[2] * 40503u) % 1000000u);
    c->sent.resize((size_t)nranks);
    c->expected.resize((size_t)nranks);
    c->hellos.resize((size_t)nranks);
    if (cudaGetDevice(&c->device) != cudaSuccess)
        return ncclUnhandledCudaError;
    hello &h = c->hellos[(size_t)rank];
    memset(&h, 0, sizeof h);
    h.nranks = nranks;
    h.rank = rank;
    if (cudaDeviceGetPCIBusId(h.bus, sizeof h.bus, c->device) != cudaSuccess)
        return ncclUnhandledCudaError;
    gethostname(h.host, sizeof h.host - 1);
    c->absent = fails("absent", &ignored);
    for (int r = 0; r < nranks && !c->absent; r++) {
        if (r == rank)
            continue;
        c->requests.resize(c->requests.size() + 2);
        MPI_Irecv(&c->hellos[(size_t)r], sizeof h, MPI_BYTE, r, c->tag, MPI_COMM_WORLD, &c->requests.end()[-2]);
        MPI_Isend(&h, sizeof h, MPI_BYTE, r, c->tag, MPI_COMM_WORLD, &c->requests.end()[-1]);
    }
    *comm = new ncclComm{c};
    S.comms.push_back(*comm);
    return until_ready(*c);
}

ncclResult_t ncclCommInitRank(ncclComm_t *comm, int nranks, ncclUniqueId id, int rank)
{
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;

    return ncclCommInitRankConfig(comm, nranks, id, rank, &config);
}

ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t *error)
{
    MAY_FAIL(ncclCommGetAsyncError);
    if (const ncclResult_t e = check("ncclCommGetAsyncError", comm); e != ncclSuccess)
        return e;
    *error = look(*comm->c);
    if (*error != ncclSuccess && *error != ncclInProgress)
        S.last_error = comm->c->text;
    return ncclSuccess;
}

ncclResult_t ncclCommFinalize(ncclComm_t comm)
{
    MAY_FAIL(ncclCommFinalize);
    if (const ncclResult_t e = check("ncclCommFinalize", comm); e != ncclSuccess)
        return e;
    record("CommFinalize");
    comm->c->finalized = true;
    for (const auto &g : comm->c->flying)
        (void)stream_is_idle(g->stream);
    return until_ready(*comm->c);
}

static void bury(ncclComm_t comm)
{
    comm->c->dead = true;
    for (const auto &g : comm->c->flying)
        for (incoming &i : g->in)
            if (i.request != MPI_REQUEST_NULL)
                MPI_Request_free(&i.request);
    S.graves.push_back(comm->c);
    S.comms.erase(std::find(S.comms.begin(), S.comms.end(), comm));
    delete comm;
}

ncclResult_t ncclCommDestroy(ncclComm_t comm)
{
    if (const ncclResult_t e = check("ncclCommDestroy", comm); e != ncclSuccess)
        return e;
    record("CommDestroy");
    if (!comm->c->flying.empty() || !comm->c->waiting.empty())
        say("rank %d: destroyed with %zu groups under way", comm->c->rank, comm->c->flying.size() + comm->c->waiting.size());
    bury(comm);
    return ncclSuccess;
}

ncclResult_t ncclCommAbort(ncclComm_t comm)
{
    if (const ncclResult_t e = check("ncclCommAbort", comm); e != ncclSuccess)
        return e;
    record("CommAbort");
    bury(comm);
    return ncclSuccess;
}

ncclResult_t ncclCommCount(const ncclComm_t comm, int *count)
{
    if (const ncclResult_t e = check("ncclCommCount", comm); e != ncclSuccess)
        return e;
    *count = comm->c->nranks;
    return ncclSuccess;
}

ncclResult_t ncclCommUserRank(const ncclComm_t comm, int *rank)
{
    if (const ncclResult_t e = check("ncclCommUserRank", comm); e != ncclSuccess)
        return e;
    *rank = comm->c->rank;
    return ncclSuccess;
}

ncclResult_t ncclCommCuDevice(const ncclComm_t comm, int *device)
{
    if (const ncclResult_t e = check("ncclCommCuDevice", comm); e != ncclSuccess)
        return e;
    *device = comm->c->device;
    return ncclSuccess;
}

ncclResult_t ncclGroupStart()
{
    MAY_FAIL(ncclGroupStart);
    record("GroupStart");
    S.depth++;
    return ncclSuccess;
}

ncclResult_t ncclGroupEnd()
{
    if (S.depth == 0) {
        say("ncclGroupEnd: not in a group call.");
        return ncclInvalidUsage;
    }
    record("GroupEnd");
    if (--S.depth > 0)
        return ncclSuccess;
    if (const ncclResult_t e = injected("ncclGroupEnd"); e != ncclSuccess)
        S.open_error = e;
    return launch_open();
}

ncclResult_t ncclSend(const void *send, size_t count, ncclDataType_t type, int peer, ncclComm_t comm, cudaStream_t stream)
{
    return add_operation(comm, {SEND, (const char *)send, nullptr, count, type, ncclSum, peer, stream});
}

ncclResult_t ncclRecv(void *recv, size_t count, ncclDataType_t type, int peer, ncclComm_t comm, cudaStream_t stream)
{
    return add_operation(comm, {RECV, nullptr, (char *)recv, count, type, ncclSum, peer, stream});
}

ncclResult_t ncclAllReduce(const void *send, void *recv, size_t count, ncclDataType_t type, ncclRedOp_t op, ncclComm_t comm, cudaStream_t stream)
{
    return add_operation(comm, {ALL_REDUCE, (const char *)send, (char *)recv, count, type, op, 0, stream});
}

ncclResult_t ncclReduceScatter(const void *send, void *recv, size_t count, ncclDataType_t type, ncclRedOp_t op, ncclComm_t comm, cudaStream_t stream)
{
    return add_operation(comm, {REDUCE_SCATTER, (const char *)send, (char *)recv, count, type, op, 0, stream});
}

ncclResult_t ncclAllGather(const void *send, void *recv, size_t count, ncclDataType_t type, ncclComm_t comm, cudaStream_t stream)
{
    return add_operation(comm, {ALL_GATHER, (const char *)send, (char *)recv, count, type, ncclSum, 0, stream});
}

} // extern "C"
