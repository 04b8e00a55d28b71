/* What this machine offers to a run. Asks the system; starts nothing but mpirun --version and, beside a GPU, ompi_info. */
#include "cli/cli_int.h"
#include "cuda/cuda.h"

#include "base/mem.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

typedef struct doctor_opts {
    bool json;
} doctor_opts;

static const lk_field rows[] = {LKI_JSON_ROW(doctor_opts)};
static const lk_table table = LK_TABLE(
    doctor_opts, "lockstep doctor", "Says what this machine offers: processor, memory, MPI, limits, GPUs.", rows);

/* The findings: name -> text, number or list, in this order. */

static void add_system(json_t *o)
{
    struct utsname u;
    cpu_set_t set;
    char text[512];

    json_object_set_new(o, "lockstep", json_string(LK_VERSION));
    json_object_set_new(o, "compiler", json_string(__VERSION__));
    if (uname(&u) == 0) {
        snprintf(text, sizeof text, "%s (%s %s, %s)", u.nodename, u.sysname, u.release, u.machine);
        json_object_set_new(o, "host", json_string(text));
    }
    json_object_set_new(o, "cores_online", json_integer(sysconf(_SC_NPROCESSORS_ONLN)));
    if (sched_getaffinity(0, sizeof set, &set) == 0)
        json_object_set_new(o, "cores_allowed", json_integer(CPU_COUNT(&set)));
}

static void add_instructions(json_t *o)
{
    json_t *list = json_array();

#if defined(__x86_64__)
    /* __builtin_cpu_supports takes a literal only. */
    if (__builtin_cpu_supports("sse4.2"))
        json_array_append_new(list, json_string("sse4.2"));
    if (__builtin_cpu_supports("avx"))
        json_array_append_new(list, json_string("avx"));
    if (__builtin_cpu_supports("avx2"))
        json_array_append_new(list, json_string("avx2"));
    if (__builtin_cpu_supports("fma"))
        json_array_append_new(list, json_string("fma"));
    if (__builtin_cpu_supports("avx512f"))
        json_array_append_new(list, json_string("avx512f"));
    if (__builtin_cpu_supports("avx512bf16"))
        json_array_append_new(list, json_string("avx512bf16"));
#endif
    json_object_set_new(o, "instructions", list);
}

static void add_memory(json_t *o)
{
    const int64_t page = sysconf(_SC_PAGESIZE);

    json_object_set_new(o, "memory_bytes", json_integer(page * sysconf(_SC_PHYS_PAGES)));
    json_object_set_new(o, "memory_free_bytes", json_integer(page * sysconf(_SC_AVPHYS_PAGES)));
}

/* null: no limit. */
static void add_limit(json_t *o, const char *name, int which)
{
    struct rlimit l;

    if (getrlimit((__rlimit_resource_t)which, &l) == 0)
        json_object_set_new(o, name, l.rlim_cur == RLIM_INFINITY ? json_null() : json_integer((json_int_t)l.rlim_cur));
}

static void add_launchers(json_t *o)
{
    static const char *const names[] = {"mpirun", "srun", "sbatch"};
    const char *path = getenv("PATH");
    json_t *found = json_object();
    char at[4096];

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const char *p = path != NULL ? path : "";
        while (*p != 0) {
            const size_t n = strcspn(p, ":");
            snprintf(at, sizeof at, "%.*s/%s", (int)n, p, names[i]);
            if (access(at, X_OK) == 0) {
                json_object_set_new(found, names[i], json_string(at));
                break;
            }
            p += n + (p[n] == ':');
        }
    }
    json_object_set_new(o, "launchers", found);
}

/* What mpirun calls itself. The library that this program is linked with comes from the same package. */
static void add_mpi(json_t *o)
{
    char line[256] = "";
    const bool found = json_object_get(json_object_get(o, "launchers"), "mpirun") != NULL;
    FILE *p = found ? popen("mpirun --version 2>/dev/null", "re") : NULL;

    if (p != NULL) {
        if (fgets(line, sizeof line, p) == NULL)
            line[0] = 0;
        line[strcspn(line, "\n")] = 0;
        pclose(p);
    }
    json_object_set_new(o, "mpi", line[0] != 0 ? json_string(line) : json_null());
}

/* Version numbers as people write them; "" for none. NVIDIA's libraries have several ways to put three numbers into one. */
static void print_version(int v, int major, int minor, char *out, size_t cap)
{
    if (v == 0)
        out[0] = 0;
    else if (minor >= 100)
        snprintf(out, cap, "%d.%d.%d", v / major, v % major / minor, v % minor);
    else
        snprintf(out, cap, "%d.%d", v / major, v % major / minor);
}

static void add_versions(const lk_cuda_module *m, json_t *o)
{
    lk_cuda_versions v = {0};
    char text[32];
    json_t *list = json_object();

    m->versions(&v);
    const struct {
        const char *name;
        int version, major, minor;
    } all[] = {
        {"driver", v.driver, 1000, 10},
        {"runtime", v.runtime, 1000, 10},
        {"cublas", v.cublas, 10000, 100},
        {"cudnn", v.cudnn, 10000, 100},
        {"nccl", v.nccl, 10000, 100},
    };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        print_version(all[i].version, all[i].major, all[i].minor, text, sizeof text);
        json_object_set_new(list, all[i].name, text[0] != 0 ? json_string(text) : json_null());
    }
    json_object_set_new(o, "cuda_versions", list);
}

static void add_gpus(const lk_cuda_module *m, int n, json_t *o)
{
    json_t *list = json_array();

    for (int i = 0; i < n; i++) {
        lk_cuda_gpu gpu;
        char compute[32];
        json_t *peers = json_array();

        if (m->describe(i, &gpu) != LK_OK) {
            json_decref(peers);
            continue;
        }
        for (int k = 0; k < n; k++)
            if (k != i && m->peer(i, k))
                json_array_append_new(peers, json_integer(k));
        snprintf(compute, sizeof compute, "%d.%d", gpu.major, gpu.minor);
        json_array_append_new(list, json_pack("{s:i, s:s, s:s, s:s, s:I, s:i, s:o}", "gpu", i, "name", gpu.name, "bus", gpu.bus, "compute", compute, "memory_bytes", (json_int_t)gpu.memory, "processors", gpu.processors, "peers", peers));
    }
    json_object_set_new(o, "gpus", list);
}

/* Whether MPI was built to take memory of GPUs; null: only a run can tell, since an MPI answers once it is initialized. */
static json_t *mpi_takes_cuda(void)
{
    static const char built[] = "mpi_built_with_cuda_support:value:";
    const char *wish = getenv("LOCKSTEP_MPI_CUDA"); /* what runs believe in its place */
    char line[512];
    json_t *answer = json_null();

    if (wish != NULL)
        return strcmp(wish, "1") == 0 ? json_true() : strcmp(wish, "0") == 0 ? json_false() : json_null();
    FILE *p = popen("ompi_info --parsable --all 2>/dev/null", "re");
    while (p != NULL && fgets(line, sizeof line, p) != NULL) {
        const char *at = strstr(line, built);
        if (at != NULL)
            answer = json_boolean(strncmp(at + sizeof built - 1, "true", 4) == 0);
    }
    if (p != NULL)
        pclose(p);
    return answer;
}

/* What a run's gradients will travel over, as the header of a run says it. */
static void add_gradients(json_t *o)
{
    const bool nccl = json_is_string(json_object_get(json_object_get(o, "cuda_versions"), "nccl"));
    json_t *takes = mpi_takes_cuda();

    json_object_set_new(o, "mpi_takes_cuda", takes);
    json_object_set_new(o, "gradients", json_sprintf("%s%s", nccl ? "NCCL where each rank has a GPU of its own, else " : "",
        json_is_true(takes) ? "MPI, device memory directly" : json_is_false(takes) ? "MPI through pinned host memory" : "MPI, directly or through pinned host memory as it says in the run"));
}

/* "cuda" says what keeps runs from GPUs, null: nothing. */
static void add_gpu(json_t *o)
{
    const lk_cuda_module *m = NULL;
    lk_status st = lk_cuda_load(&m);
    int n = 0;

    json_object_set_new(o, "cuda_module", json_boolean(st == LK_OK));
    json_object_set_new(o, "nvidia_device", json_boolean(access("/dev/nvidiactl", F_OK) == 0));
    if (st == LK_OK) {
        add_versions(m, o);
        st = m->count(&n);
    }
    json_object_set_new(o, "cuda", st == LK_OK ? json_null() : json_string(lk_err_last()->message));
    if (st == LK_OK) {
        add_gpus(m, n, o);
        add_gradients(o);
    }
}

static json_t *examine(void)
{
    json_t *o = json_object();

    add_system(o);
    add_instructions(o);
    add_memory(o);
    add_launchers(o);
    add_mpi(o);
    add_limit(o, "locked_memory_bytes", RLIMIT_MEMLOCK);
    add_limit(o, "open_files", RLIMIT_NOFILE);
    add_gpu(o);
    return o;
}

/* As text. */

static void add_row(lk_buf *b, const char *name, const char *text)
{
    lk_buf_printf(b, "%-14s %s\n", name, text);
}

static const char *limit_text(const json_t *o, const char *name, bool bytes, char *out, size_t cap)
{
    const json_t *v = json_object_get(o, name);

    if (json_is_null(v))
        snprintf(out, cap, "unlimited");
    else if (bytes)
        lk_format_bytes(json_number_value(v), out, cap);
    else
        snprintf(out, cap, "%lld", (long long)json_integer_value(v));
    return out;
}

static void add_launcher_rows(json_t *o, lk_buf *b)
{
    json_t *found = json_object_get(o, "launchers");
    const char *name;
    json_t *at;

    add_row(b, "MPI",
        json_is_string(json_object_get(o, "mpi"))
            ? json_string_value(json_object_get(o, "mpi"))
            : "mpirun is not in PATH: \"lockstep launch\" needs it (Debian: apt-get install openmpi-bin)");
    json_object_foreach(found, name, at) add_row(b, name, json_string_value(at));
}

/* What is missing, and what to install. */
static void add_missing(const json_t *o, lk_buf *b)
{
    static const struct {
        const char *key, *what;
    } all[] = {
        {"cudnn", "cuDNN is not there: convolutions and attention run through cuBLAS, slower (NVIDIA's package cudnn9-cuda-13, then build again)"},
        {"nccl", "NCCL is not there: gradients travel over MPI (NVIDIA's packages libnccl2 libnccl-dev, then build again)"},
    };
    const json_t *versions = json_object_get(o, "cuda_versions");

    if (!json_is_true(json_object_get(o, "cuda_module")))
        add_row(b, "", "build it where NVIDIA's CUDA Toolkit (nvcc; package cuda-toolkit-13-0) is installed; scripts/quickstart finds it");
    else if (json_is_string(json_object_get(o, "cuda")))
        add_row(b, "", "install NVIDIA's driver (package nvidia-driver, or nvidia-open), or ask for a node with a GPU");
    for (size_t i = 0; versions != NULL && i < sizeof all / sizeof all[0]; i++)
        if (json_is_null(json_object_get(versions, all[i].key)))
            add_row(b, "", all[i].what);
}

static void add_gpu_rows(const json_t *o, lk_buf *b)
{
    const json_t *versions = json_object_get(o, "cuda_versions"), *gpus = json_object_get(o, "gpus");
    static const char *const names[][2] = {{"driver", "driver"}, {"runtime", "CUDA"}, {"cublas", "cuBLAS"}, {"cudnn", "cuDNN"}, {"nccl", "NCCL"}};
    char text[512], memory[32];
    lk_buf line = {0};

    for (size_t i = 0; versions != NULL && i < sizeof names / sizeof names[0]; i++) {
        const char *v = json_string_value(json_object_get(versions, names[i][0]));
        lk_buf_printf(&line, "%s%s %s", i > 0 ? ", " : "", names[i][1], v != NULL ? v : "none");
    }
    if (versions != NULL)
        add_row(b, "CUDA", lk_buf_text(&line));
    lk_buf_fini(&line);
    if (json_is_string(json_object_get(o, "cuda"))) {
        snprintf(text, sizeof text, "none: %.440s; runs compute on the CPU", json_string_value(json_object_get(o, "cuda")));
        add_row(b, "GPU", text);
    }
    for (size_t i = 0; i < json_array_size(gpus); i++) {
        const json_t *g = json_array_get(gpus, i), *peers = json_object_get(g, "peers");

        lk_format_bytes((double)json_integer_value(json_object_get(g, "memory_bytes")), memory, sizeof memory);
        snprintf(text, sizeof text, "%.200s, %s, compute capability %s, %s", json_string_value(json_object_get(g, "name")), memory, json_string_value(json_object_get(g, "compute")),
            json_string_value(json_object_get(g, "bus")));
        lk_buf_printf(&line, "%s", text);
        for (size_t k = 0; k < json_array_size(peers); k++)
            lk_buf_printf(&line, "%s %lld", k == 0 ? ", reads the memory of" : ",", (long long)json_integer_value(json_array_get(peers, k)));
        snprintf(text, sizeof text, "GPU %zu", i);
        add_row(b, text, lk_buf_text(&line));
        lk_buf_fini(&line);
    }
    if (json_object_get(o, "gradients") != NULL)
        add_row(b, "gradients", json_string_value(json_object_get(o, "gradients")));
    add_missing(o, b);
}

static lk_status say(json_t *o)
{
    const json_t *list = json_object_get(o, "instructions");
    lk_buf b = {0}, words = {0};
    char a[64], c[64], text[256];

    add_row(&b, "lockstep", json_string_value(json_object_get(o, "lockstep")));
    add_row(&b, "compiler", json_string_value(json_object_get(o, "compiler")));
    add_row(&b, "host", json_string_value(json_object_get(o, "host")));
    for (size_t i = 0; i < json_array_size(list); i++)
        lk_buf_printf(&words, "%s%s", i > 0 ? " " : "", json_string_value(json_array_get(list, i)));
    snprintf(text, sizeof text, "%lld allowed, %lld online; %s",
        (long long)json_integer_value(json_object_get(o, "cores_allowed")),
        (long long)json_integer_value(json_object_get(o, "cores_online")), lk_buf_text(&words));
    add_row(&b, "cores", text);
    snprintf(text, sizeof text, "%s, free %s", limit_text(o, "memory_bytes", true, a, sizeof a),
        limit_text(o, "memory_free_bytes", true, c, sizeof c));
    add_row(&b, "memory", text);
    add_launcher_rows(o, &b);
    snprintf(text, sizeof text, "locked memory %s, open files %s",
        limit_text(o, "locked_memory_bytes", true, a, sizeof a), limit_text(o, "open_files", false, c, sizeof c));
    add_row(&b, "limits", text);
    add_gpu_rows(o, &b);
    const lk_status st = lki_print(&b);
    lk_buf_fini(&b);
    lk_buf_fini(&words);
    return st;
}

static int run(const lki_parsed *p)
{
    const doctor_opts *o = p->opts;
    json_t *found = examine();

    if (o->json)
        return lki_finish(lki_print_json(found));
    const lk_status st = say(found);
    json_decref(found);
    return lki_finish(st);
}

const lki_command lki_doctor_command = {.name = "doctor", .options = &table, .run = run};
