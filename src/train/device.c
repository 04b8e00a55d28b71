/* What a run computes on, and what its gradients travel over: decided once, the same on all ranks. */
#include "train/run_int.h"

#include "base/mem.h"
#include "cuda/cuda.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Without a driver the module is not even loaded: its libraries take longer than a short run. A module that is named by hand is. */
static lk_status find_driver(void)
{
    if (getenv("LOCKSTEP_CUDA_MODULE") == NULL && access("/dev/nvidiactl", F_OK) != 0)
        return LK_FAIL(LK_E_UNSUPPORTED, "there is no NVIDIA driver here (no /dev/nvidiactl)");
    return LK_OK;
}

/* This rank's GPU: ranks of a host take turns. */
static lk_status open_gpu(lk_run *r, const lk_cuda_module **module)
{
    int n = 0;

    LK_TRY(lk_cuda_find());
    LK_TRY(find_driver());
    LK_TRY(lk_cuda_load(module));
    LK_TRY((*module)->count(&n));
    r->gpu_index = lk_comm_local_rank(r->comm) % n;
    LK_TRY((*module)->describe(r->gpu_index, &r->gpu));
    return (*module)->open(r->gpu_index, (lk_precision)r->config->train.precision, &r->backend);
}

/* Collective. */
static lk_status open_wire(lk_run *r, const lk_cuda_module *module)
{
    const bool asked = r->config->run.transport == LK_TRANSPORT_NCCL;
    bool own = false, direct = false;
    const char *why = NULL;
    char where[256], shared[400];

    LK_TRY(lk_comm_takes_cuda(r->comm, &direct));
    LK_TRY(lk_comm_distinct(r->comm, r->gpu.bus, &own, shared, sizeof shared));
    if (!own)
        why = shared;
    else if (module->comm == NULL)
        why = "this CUDA module was built without NCCL";
    if (asked && why != NULL)
        return LK_FAIL(LK_E_CONFIG, "%s: run.transport is nccl, but %s%s: set it to auto", lk_config_where(r->config, "run.transport", where, sizeof where), why, own ? "" : ", and NCCL takes one rank a GPU");
    if (asked || (r->nranks > 1 && why == NULL && r->config->run.transport == LK_TRANSPORT_AUTO)) {
        if (r->mode == LK_RUN_PLAN)
            return LK_OK; /* nothing will travel */
        return module->comm(r->comm, r->config->run.transport_timeout, &r->wire);
    }
    return lk_comm_create_staged(r->comm, r->backend->space, direct, &r->wire);
}

static void print_cudnn(int version, char *out, size_t size)
{
    if (version == 0)
        snprintf(out, size, "without cuDNN");
    else
        snprintf(out, size, "with cuDNN %d.%d.%d", version / 10000, version % 10000 / 100, version % 100);
}

/* What convolutions and attention go through decides how they are rounded, so it is the same on all ranks: a version of cuDNN, or 0. Collective. */
static lk_status check_cudnn(const lk_run *r, const lk_cuda_module *module)
{
    const int n = lk_comm_nranks(r->comm); /* a plan may be for more */
    lk_cuda_versions v = {0};
    char text[2][32];
    int *all = NULL, other = 0;
    lk_status st;

    module->versions(&v);
    const int own = v.without_cudnn ? 0 : v.cudnn;
    LK_TRY(lk_comm_agree(r->comm, lk_alloc_array(n, sizeof *all, "versions of all ranks", &all)));
    st = lk_comm_allgather(r->comm, &own, sizeof own, all);
    while (st == LK_OK && other < n && all[other] == all[0])
        other++;
    if (st == LK_OK && other < n) {
        print_cudnn(all[0], text[0], sizeof text[0]);
        print_cudnn(all[other], text[1], sizeof text[1]);
        st = LK_FAIL(LK_E_CONFIG, "rank 0 on %s computes %s, rank %d on %s %s, which rounds otherwise: they need the same module and libraries, and LOCKSTEP_CUDNN set alike (0: without cuDNN)",
            lk_comm_host(r->comm, 0), text[0], other, lk_comm_host(r->comm, other), text[1]);
    }
    lk_free(all);
    return st;
}

lk_status lki_device_open(lk_run *r)
{
    const int device = r->config->run.device;
    const lk_cuda_module *module = NULL;
    char where[256];
    lk_status st = LK_OK;

    if (device != LK_DEVICE_CPU) {
        st = open_gpu(r, &module);
        if (device == LK_DEVICE_CUDA && st != LK_OK && lk_status_damage(st) < LK_DAMAGE_COMM)
            st = lk_err_prefix(st, "%s: run.device is cuda, but ", lk_config_where(r->config, "run.device", where, sizeof where));
        /* With auto one rank that cannot keeps all of them on the processor. */
        const bool found = st != LK_E_NOT_FOUND;
        st = lk_comm_agree(r->comm, st);
        if (device == LK_DEVICE_CUDA)
            LK_TRY(st == LK_OK ? LK_OK : LK_FAIL(LK_E_CONFIG, "%s", lk_err_last()->message));
        if (st != LK_OK) {
            if (found)
                snprintf(r->no_gpu, sizeof r->no_gpu, "%.*s", (int)sizeof r->no_gpu - 1, lk_err_last()->message);
            module = NULL;
        }
    }
    if (module == NULL) {
        r->backend = &lk_backend_cpu;
        r->wire = r->comm;
        if (r->config->train.precision != LK_PRECISION_FP32 && r->mode != LK_RUN_PLAN)
            return LK_FAIL(LK_E_CONFIG, "%s: train.precision is %s, which is for GPUs: the CPU computes in fp32", lk_config_where(r->config, "train.precision", where, sizeof where), lk_precision_name((lk_precision)r->config->train.precision));
        return LK_OK;
    }
    r->on_gpu = true;
    LK_TRY(check_cudnn(r, module));
    return open_wire(r, module);
}

void lki_device_close(lk_run *r)
{
    if (r->wire != r->comm)
        lk_comm_destroy(&r->wire);
}
