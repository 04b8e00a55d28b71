/* The stand-in for a CUDA device: the parts of tests/standin among themselves. What the module calls is declared in CUDA's own headers;
 * what kernels are written with, in simt.h.
 *
 * Streams are lists of closures that run when something waits for them (runtime.cpp), so that a host which reads too early, or writes over
 * a staging buffer too early, gets wrong numbers here as it would on a device. Device memory can be touched only while such closures run.
 *
 * From the environment:
 *   STANDIN_DEVICES=n  devices there are (1; 0: cudaErrorNoDevice)
 *   STANDIN_BYTES=n    memory of a device (4 GiB); cudaMalloc fails beyond it
 *   STANDIN_POOL=file  processes that name the same file, which the first one makes, have their devices' memory together. In it, for each of 16
 *                      devices: bytes that are taken, and the most that were, as two int64. What a process had that was
 *                      killed stays taken
 *   STANDIN_EAGER=1    work is done when it is queued, as far as it can be
 *   STANDIN_AHEAD=n    1: what is waited for is done last, all else that can be done first, so that work of two streams which must be in an order
 *                      needs an event that says so; 2: at every other wait; 0: nothing is done that is not waited for
 *   STANDIN_GUARD=n    1: the host is killed if it touches device memory. Closing and opening of much memory is slow, so it stays open for a
 *                      while once that took more time than the work. 2: closed whenever no work runs; 0: never
 *   LD_PRELOAD=libstandin_mpi.so  (mpi.c) MPI takes device memory, and may touch it while a call into it lasts
 *   STANDIN_FAIL=name:n[:error],...  the n-th call of `name` from now fails. Without a number of an error: cudaErrorMemoryAllocation for
 *                      allocations, cudaErrorLaunchFailure for "launch" (when the kernel runs) and all else. Counting starts when the
 *                      variable changes.
 *   STANDIN_FAIL_RANK=n  that is so on rank n of MPI alone
 *   STANDIN_FAIL_AFTER=name:n  calls are counted against STANDIN_FAIL once `name` has come n times
 *   STANDIN_FAIL_LOSES=1  with the call that fails the device is lost: all calls behind it fail as well
 *
 * No thread_local variables in what is linked with this: a kernel's __shared__ arrays are the only ones, and are filled with NaN
 * before each block. */
#ifndef LK_STANDIN_STANDIN_H
#define LK_STANDIN_STANDIN_H

#include <cuda_runtime_api.h>
#include <cstdint>
#include <functional>

/* Queues work on a stream, or adds it to the graph that the stream's work is being collected for. In the closure: device memory may be
 * read and written; nothing of CUDA's may be called (but standin_* below); what it needs it holds by value, since it runs later, and a
 * graph runs a copy of it each time it is launched. It must not throw. Returns what cudaGetLastError will say. */
cudaError_t standin_queue(cudaStream_t stream, std::function<void()> work);
/* The same for work that waits for other processes: asked again and again until it says true. It never blocks itself, so that a host which
 * polls (cudaStreamQuery, cudaEventQuery) goes on meanwhile. It is asked only while something waits for its stream (or with
 * STANDIN_EAGER=1, once when queued): a process that is waiting elsewhere does not get on with its queued work. */
cudaError_t standin_queue_poll(cudaStream_t stream, std::function<bool()> work);

/* All of [p, p + bytes) lies in one allocation of device memory. */
bool standin_in_device(const void *p, size_t bytes);
/* Inside of a closure: prints the line, and the device is lost with this error, as after a fault of a kernel. */
void standin_lose(cudaError_t e, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Counts a call of `name` against STANDIN_FAIL: this one is to fail. *error is set if a number was given. */
bool standin_fails(const char *name, int *error);
/* Prints a line that begins with "standin: ". */
void standin_say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Kernels that were launched in this process: queued, or collected for a graph. For tests, which look it up in the module. */
extern "C" uint64_t standin_launches();

/* ---- kernels (fiber.cpp) ---- */
/* A kernel with its arguments. */
struct standin_body {
    const char *types; /* names the kernel in messages */
    const void *key;   /* tells kernels apart */
    virtual void thread() const = 0;
    virtual ~standin_body() = default;
};
/* Runs all blocks. false: misuse, which was printed. */
bool standin_run(const standin_body &body, dim3 grid, dim3 block, size_t shared);
/* "kernel (...), block 0,0,0, thread 5,0,0" while one runs, else NULL. For messages. */
const char *standin_where();
/* An address is in the guard of a device thread's stack. */
bool standin_stack_guard(const void *p);

#endif
