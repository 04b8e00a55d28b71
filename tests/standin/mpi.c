/* An MPI that takes the memory of the stand-in's devices, as a CUDA-aware one does: loaded in front of the real one (LD_PRELOAD), it says so
 * when it is asked, and device memory is open for as long as a call into MPI lasts. It waits for nobody's streams: who hands it a buffer before
 * the work on it has run sends garbage, and who touches the buffer outside of MPI and of queued work is killed as ever.
 *
 * Only what lockstep calls is wrapped. */
#include <mpi.h>
#if defined(OPEN_MPI)
#include <mpi-ext.h>
#endif

#include <dlfcn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

/* From runtime.cpp, once the module is there. */
static bool (*open_memory)(void);
static void (*close_memory)(void);
static bool (*is_allocated)(const void *p, size_t bytes);

/* Messages must be carried by the two processes themselves, inside of MPI: not by the kernel, from memory of one that is elsewhere. */
__attribute__((constructor)) static void prepare(void)
{
    setenv("OMPI_MCA_btl_vader_single_copy_mechanism", "none", 1);
}

static bool begin(void)
{
    if (open_memory == NULL) {
        const char *const module = getenv("LOCKSTEP_CUDA_MODULE");
        void *const library = module != NULL ? dlopen(module, RTLD_NOW | RTLD_NOLOAD) : NULL;
        if (library == NULL)
            return false;
        *(void **)&close_memory = dlsym(library, "standin_mpi_close");
        *(void **)&is_allocated = dlsym(library, "standin_mpi_allocated");
        *(void **)&open_memory = dlsym(library, "standin_mpi_open");
    }
    return open_memory != NULL && open_memory();
}

static void end(bool opened)
{
    if (opened)
        close_memory();
}

static bool wrong(bool opened, const char *call, const void *p, int count, MPI_Datatype type)
{
    int size = 0;

    if (!opened || PMPI_Type_size(type, &size) != MPI_SUCCESS || is_allocated(p, (size_t)count * (size_t)size))
        return false;
    fprintf(stderr, "standin: %s of [%p, +%d * %d), which is in no allocation of the device\n", call, p, count, size);
    return true;
}

int MPIX_Query_cuda_support(void)
{
    return 1;
}

#define WITH_BUFFER(name, buffer, count, type, params, args) \
    int name params \
    { \
        const bool opened = begin(); \
        const int rc = wrong(opened, #name, buffer, count, type) ? MPI_ERR_BUFFER : P##name args; \
        end(opened); \
        return rc; \
    }
#define WITHOUT(name, params, args) \
    int name params \
    { \
        const bool opened = begin(); \
        const int rc = P##name args; \
        end(opened); \
        return rc; \
    }

WITH_BUFFER(MPI_Isend, b, n, t, (const void *b, int n, MPI_Datatype t, int to, int tag, MPI_Comm c, MPI_Request *r), (b, n, t, to, tag, c, r))
WITH_BUFFER(MPI_Irecv, b, n, t, (void *b, int n, MPI_Datatype t, int from, int tag, MPI_Comm c, MPI_Request *r), (b, n, t, from, tag, c, r))
WITH_BUFFER(MPI_Allreduce, to, n, t, (const void *from, void *to, int n, MPI_Datatype t, MPI_Op op, MPI_Comm c), (from, to, n, t, op, c))
WITH_BUFFER(MPI_Bcast, b, n, t, (void *b, int n, MPI_Datatype t, int root, MPI_Comm c), (b, n, t, root, c))
WITHOUT(MPI_Allgather, (const void *from, int n, MPI_Datatype t, void *to, int m, MPI_Datatype u, MPI_Comm c), (from, n, t, to, m, u, c))
WITHOUT(MPI_Barrier, (MPI_Comm c), (c))
WITHOUT(MPI_Test, (MPI_Request *r, int *done, MPI_Status *s), (r, done, s))
WITHOUT(MPI_Testall, (int n, MPI_Request r[], int *done, MPI_Status s[]), (n, r, done, s))
WITHOUT(MPI_Cancel, (MPI_Request *r), (r))
WITHOUT(MPI_Request_free, (MPI_Request *r), (r))
WITHOUT(MPI_Comm_dup, (MPI_Comm c, MPI_Comm *out), (c, out))
WITHOUT(MPI_Comm_free, (MPI_Comm *c), (c))
WITHOUT(MPI_Finalize, (void), ())
