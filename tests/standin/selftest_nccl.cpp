/* The stand-in of NCCL: what its calls do, and that it refuses or tells what NCCL would refuse or hang on. Under mpirun. */
#define OMPI_SKIP_MPICXX 1
#define MPICH_SKIP_MPICXX 1
#include "check.h"

#include <cuda_runtime_api.h>
#include <mpi.h>
#include <nccl.h>

#include <cstdlib>
#include <cstring>
#include <vector>

extern "C" const char *standin_nccl_calls(void);
extern "C" int __lsan_is_turned_off(void);
extern "C" int __lsan_is_turned_off(void)
{
    return 1; /* MPI */
}

namespace {

int rank, nranks;
cudaStream_t stream;

#define NCCL(call) \
    do { \
        const ncclResult_t r_ = (call); \
        CHECK(r_ == ncclSuccess, "%s: %s: %s", #call, ncclGetErrorString(r_), ncclGetLastError(nullptr)); \
    } while (0)
#define CUDA(call) CHECK((call) == cudaSuccess, "%s", #call)

template <class T> struct device {
    T *at = nullptr;
    size_t n;
    explicit device(size_t count, T first = 0, T step = 0) : n(count)
    {
        std::vector<T> x(n);
        for (size_t i = 0; i < n; i++)
            x[i] = (T)(first + (T)i * step);
        CUDA(cudaMalloc((void **)&at, n * sizeof(T)));
        CUDA(cudaMemcpyAsync(at, x.data(), n * sizeof(T), cudaMemcpyHostToDevice, stream));
        CUDA(cudaStreamSynchronize(stream)); /* x goes, and is not pinned */
    }
    std::vector<T> get() const
    {
        std::vector<T> x(n);
        CUDA(cudaStreamSynchronize(stream));
        CUDA(cudaMemcpyAsync(x.data(), at, n * sizeof(T), cudaMemcpyDeviceToHost, stream));
        CUDA(cudaStreamSynchronize(stream));
        return x;
    }
    ~device()
    {
        CUDA(cudaFree(at));
    }
};

ncclComm_t join(int blocking)
{
    ncclUniqueId id;
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    ncclComm_t comm = nullptr;

    if (rank == 0)
        NCCL(ncclGetUniqueId(&id));
    MPI_Bcast(&id, sizeof id, MPI_BYTE, 0, MPI_COMM_WORLD);
    config.blocking = blocking;
    const ncclResult_t began = ncclCommInitRankConfig(&comm, nranks, id, rank, &config);
    CHECK(began == (blocking ? ncclSuccess : ncclInProgress), "%s", ncclGetErrorString(began));
    return comm;
}

ncclResult_t state_of(ncclComm_t comm)
{
    ncclResult_t state = ncclInProgress;

    while (state == ncclInProgress)
        NCCL(ncclCommGetAsyncError(comm, &state));
    return state;
}

void test_collectives()
{
    const ncclComm_t comm = join(1);
    const size_t n = 100;
    int count = 0, own = -1, gpu = -1;

    NCCL(ncclCommCount(comm, &count));
    NCCL(ncclCommUserRank(comm, &own));
    NCCL(ncclCommCuDevice(comm, &gpu));
    CHECK(count == nranks && own == rank && gpu == rank, "%d %d %d", count, own, gpu);
    {
        device<float> x(n, (float)rank, 1), sum(n);
        NCCL(ncclAllReduce(x.at, sum.at, n, ncclFloat32, ncclSum, comm, stream));
        const std::vector<float> got = sum.get();
        for (size_t i = 0; i < n; i++)
            CHECK(got[i] == (float)(nranks * (nranks - 1) / 2) + (float)nranks * (float)i, "%zu: %g", i, (double)got[i]);
    }
    {
        device<double> x(n * (size_t)nranks, 0, 1), sum(n);
        NCCL(ncclReduceScatter(x.at, sum.at, n, ncclFloat64, ncclSum, comm, stream));
        const std::vector<double> got = sum.get();
        for (size_t i = 0; i < n; i++)
            CHECK(got[i] == nranks * (double)((size_t)rank * n + i), "%zu: %g", i, got[i]);
    }
    {
        device<int64_t> x(n, rank, 10), all(n * (size_t)nranks);
        NCCL(ncclAllGather(x.at, all.at, n, ncclInt64, comm, stream));
        const std::vector<int64_t> got = all.get();
        for (size_t i = 0; i < got.size(); i++)
            CHECK(got[i] == (int64_t)(i / n + 10 * (i % n)), "%zu: %ld", i, (long)got[i]);
    }
    { /* to oneself and round the ring, in one group; a rank reads late what came in */
        device<char> x(n, (char)rank, 1), y(n), z(n);
        NCCL(ncclGroupStart());
        NCCL(ncclSend(x.at, n, ncclInt8, rank, comm, stream));
        NCCL(ncclRecv(y.at, n, ncclInt8, rank, comm, stream));
        NCCL(ncclSend(x.at, n, ncclInt8, (rank + 1) % nranks, comm, stream));
        NCCL(ncclRecv(z.at, n, ncclInt8, (rank + nranks - 1) % nranks, comm, stream));
        NCCL(ncclGroupEnd());
        CHECK(y.get() == x.get(), "to oneself");
        CHECK(z.get()[1] == (char)((rank + nranks - 1) % nranks + 1), "round the ring: %d", z.get()[1]);
    }
    NCCL(ncclCommFinalize(comm));
    NCCL(ncclCommDestroy(comm));
    ncclResult_t state;
    CHECK(ncclCommGetAsyncError(comm, &state) == ncclInvalidArgument, "a destroyed communicator");
}

void test_refusals()
{
    const ncclComm_t comm = join(0);
    char host[16] = "";
    device<char> x(64), y(64);

    if (nranks > 1)
        CHECK(ncclSend(x.at, 8, ncclInt8, 0, comm, stream) == ncclInvalidArgument, "before it has begun");
    CHECK(state_of(comm) == ncclSuccess, "%s", ncclGetLastError(comm));
    CHECK(ncclGroupEnd() == ncclInvalidUsage, "no group");
    CHECK(ncclSend(x.at, 8, ncclInt8, nranks, comm, stream) == ncclInvalidArgument, "rank %d", nranks);
    CHECK(ncclSend(host, 8, ncclInt8, 0, comm, stream) == ncclInvalidArgument, "memory of the host");
    CHECK(ncclRecv(x.at, 65, ncclInt8, 0, comm, stream) == ncclInvalidArgument, "more than there is");
    CHECK(ncclAllReduce(x.at, x.at, 8, ncclFloat32, ncclMax, comm, stream) == ncclInvalidArgument, "a maximum");
    CUDA(cudaSetDevice((rank + 1) % 4));
    CHECK(ncclSend(x.at, 8, ncclInt8, 0, comm, stream) == ncclInvalidArgument, "another device");
    CUDA(cudaSetDevice(rank));
    /* a call that fails in a group fails the group */
    NCCL(ncclGroupStart());
    CHECK(ncclSend(host, 8, ncclInt8, 0, comm, stream) == ncclInvalidArgument, "memory of the host");
    CHECK(ncclGroupEnd() == ncclInvalidArgument, "a group with a wrong call");
    /* behind a launch nothing goes before it is through */
    NCCL(ncclGroupStart());
    NCCL(ncclSend(x.at, 8, ncclInt8, rank, comm, stream));
    NCCL(ncclRecv(y.at, 8, ncclInt8, rank, comm, stream));
    CHECK(ncclGroupEnd() == ncclInProgress, "it blocks");
    CHECK(ncclSend(x.at, 8, ncclInt8, rank, comm, stream) == ncclInvalidArgument, "while the group is launched");
    CHECK(state_of(comm) == ncclSuccess, "%s", ncclGetLastError(comm));
    CUDA(cudaStreamSynchronize(stream));
    NCCL(ncclCommAbort(comm));
    CHECK(ncclCommAbort(comm) == ncclInvalidArgument, "aborted twice");
    CHECK(strstr(standin_nccl_calls(), "CommAbort") != nullptr, "%s", standin_nccl_calls());
}

/* What would hang is told, and ends with the abort. */
void test_hangs()
{
    const ncclComm_t comm = join(0);
    device<char> x(64), y(64);

    CHECK(state_of(comm) == ncclSuccess, "%s", ncclGetLastError(comm));
    setenv("STANDIN_NCCL_PATIENCE", "0", 1);
    ncclRecv(x.at, 8, ncclInt8, (rank + 1) % nranks, comm, stream); /* no one sends */
    CHECK(state_of(comm) == ncclSuccess, "%s", ncclGetLastError(comm));
    for (int i = 0; i < 4; i++)
        CHECK(cudaStreamQuery(stream) == cudaErrorNotReady, "it ended");
    CHECK(strstr(ncclGetLastError(comm), "has waited long for ncclSend") != nullptr, "%s", ncclGetLastError(comm));
    unsetenv("STANDIN_NCCL_PATIENCE");
    NCCL(ncclCommAbort(comm));
    CUDA(cudaStreamSynchronize(stream));
    (void)cudaGetLastError();
    MPI_Barrier(MPI_COMM_WORLD);
}

/* Counts that do not fit: NCCL's outcome is open, here it is an error. */
void test_mismatch()
{
    const ncclComm_t comm = join(0);
    device<char> x(64), y(64);
    const size_t out = rank == 0 ? 16 : 8;

    CHECK(state_of(comm) == ncclSuccess, "%s", ncclGetLastError(comm));
    NCCL(ncclGroupStart());
    NCCL(ncclSend(x.at, out, ncclInt8, (rank + 1) % nranks, comm, stream));
    NCCL(ncclRecv(y.at, 8, ncclInt8, (rank + nranks - 1) % nranks, comm, stream));
    ncclGroupEnd();
    ncclResult_t state = ncclInProgress;
    for (int i = 0; i < 20000 && (rank == 1 ? state != ncclInvalidUsage : state != ncclSuccess); i++) {
        (void)cudaStreamQuery(stream);
        NCCL(ncclCommGetAsyncError(comm, &state));
    }
    CHECK(state == (rank == 1 ? ncclInvalidUsage : ncclSuccess), "rank %d: %s", rank, ncclGetErrorString(state));
    if (rank == 1)
        CHECK(strstr(ncclGetLastError(comm), "16 elements") != nullptr, "%s", ncclGetLastError(comm));
    MPI_Barrier(MPI_COMM_WORLD);
    NCCL(ncclCommAbort(comm));
    CUDA(cudaStreamSynchronize(stream));
    (void)cudaGetLastError();
}

void test_devices()
{
    ncclComm_t comm;

    CUDA(cudaSetDevice(0));
    comm = join(0);
    CHECK(state_of(comm) == ncclInvalidUsage, "ranks share a device");
    CHECK(strstr(ncclGetLastError(comm), "Duplicate GPU detected : rank 0 and rank 1 both on CUDA device 0000:") != nullptr, "%s",
        ncclGetLastError(comm));
    NCCL(ncclCommAbort(comm));
    MPI_Barrier(MPI_COMM_WORLD);
    setenv("STANDIN_NCCL_SHARE", "1", 1);
    comm = join(1);
    NCCL(ncclCommDestroy(comm));
    unsetenv("STANDIN_NCCL_SHARE");
    CUDA(cudaSetDevice(rank));
}

} // namespace

int main(int argc, char **argv)
{
    setenv("STANDIN_DEVICES", "4", 1);
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &nranks);
    CUDA(cudaSetDevice(rank));
    CUDA(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    test_collectives();
    test_refusals();
    if (nranks > 1) {
        test_hangs();
        test_mismatch();
        test_devices();
    }
    MPI_Finalize();
    return check_end(rank);
}
