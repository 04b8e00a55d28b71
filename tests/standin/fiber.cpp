/* Runs a kernel: blocks one after the other, the threads of a block as fibers. A thread runs until it ends or waits. One that ends without
 * waiting hands its stack to the next, so that a kernel without barriers takes one stack and about a function call a thread. Who waits is
 * run on once all it waits for are there; the last to come goes on at once.
 *
 * Every other block runs its threads from the last to the first, and every other launch its blocks: a kernel whose threads need each other's
 * results without a barrier between is found in one of the two orders. */
#include "standin/simt.h"

#include <cstdarg>
#include <cstdio>
#include <link.h>
#include <sys/mman.h>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
#endif
#if !defined(__x86_64__)
#include <ucontext.h>
#endif

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace {

constexpr size_t page_bytes = 4096;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr size_t stack_bytes = 256 << 10;
#else
constexpr size_t stack_bytes = 64 << 10;
#endif
constexpr unsigned most_threads = 1024;
constexpr unsigned lanes = 32;
constexpr size_t most_shared = 227 << 10; /* that a block can ask for on the devices that the module is made for */

/* ---- contexts ---- */
struct context {
#if defined(__x86_64__)
    void *sp = nullptr;
#else
    ucontext_t u;
#endif
    const void *stack = nullptr; /* lowest address; of the host's thread it is learned at the first switch */
    size_t bytes = 0;
#if defined(__SANITIZE_ADDRESS__)
    void *fake = nullptr;
#endif
#if defined(__SANITIZE_THREAD__)
    void *fiber = nullptr;
#endif
};

#if defined(__x86_64__)
extern "C" __attribute__((visibility("hidden"))) void standin_switch_stack(void **from, void *to);
/* Keeps what a function must keep, and nothing else: neither signals nor the modes of floating point differ between fibers. */
asm(R"(
    .text
    .p2align 4
    .hidden standin_switch_stack
    .globl standin_switch_stack
    .type standin_switch_stack, @function
standin_switch_stack:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
    .size standin_switch_stack, .-standin_switch_stack
)");
#endif

context *running;
context *came_from;

/* First thing on a stack that was switched to. */
void arrived([[maybe_unused]] context *me)
{
#if defined(__SANITIZE_ADDRESS__)
    const void *stack = nullptr;
    size_t bytes = 0;
    __sanitizer_finish_switch_fiber(me->fake, &stack, &bytes);
    if (came_from->stack == nullptr) {
        came_from->stack = stack;
        came_from->bytes = bytes;
    }
#endif
}

void switch_to(context *to)
{
    context *const from = running;
    running = to;
    came_from = from;
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(&from->fake, to->stack, to->bytes);
#endif
#if defined(__SANITIZE_THREAD__)
    __tsan_switch_to_fiber(to->fiber, 0);
#endif
#if defined(__x86_64__)
    standin_switch_stack(&from->sp, to->sp);
#else
    swapcontext(&from->u, &to->u);
#endif
    arrived(from);
}

/* ---- a block ---- */
enum state { UNSTARTED, RUNNING, READY, AT_BARRIER, IN_WARP, ENDED };
struct thread {
    state at = UNSTARTED;
    context *on = nullptr;
    standin_kind kind;
    unsigned mask;
    int argument, width;
    uint64_t bits;
    const char *file;
    int line;
};

struct {
    const standin_body *body; /* NULL: nothing runs */
    unsigned n, started, ended, waiting;
    bool backwards, failed;
    unsigned now; /* the thread that runs */
    unsigned here[most_threads / lanes]; /* lanes of each warp that wait for their warp */
    thread threads[most_threads];
    unsigned ready[most_threads], ready_head, ready_count;
    context host;
    std::vector<std::unique_ptr<context>> fibers;
    std::vector<context *> idle;
    char *stacks;
    alignas(256) char shared[most_shared + 256];
} B;

void place(unsigned t)
{
    B.now = t;
    if (blockDim.y == 1 && blockDim.z == 1)
        threadIdx = {t, 0, 0};
    else
        threadIdx = {t % blockDim.x, t / blockDim.x % blockDim.y, t / (blockDim.x * blockDim.y)};
}

void make_ready(unsigned t)
{
    B.threads[t].at = READY;
    B.ready[(B.ready_head + B.ready_count++) % most_threads] = t;
}

unsigned take_ready()
{
    const unsigned t = B.ready[B.ready_head];
    B.ready_head = (B.ready_head + 1) % most_threads;
    B.ready_count--;
    return t;
}

__attribute__((format(printf, 1, 2))) void fail(const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    standin_say("%s: %s", standin_where(), text);
    B.failed = true;
}

[[noreturn]] void give_up()
{
    switch_to(&B.host);
    __builtin_trap(); /* nobody comes back here: the stack is made anew */
}

bool same_place(const thread &w, const char *file, int line)
{
    return w.line == line && (w.file == file || strcmp(w.file, file) == 0);
}

/* Lets all that wait at the barrier go on, if none is missing. */
bool release()
{
    if (B.waiting == 0 || B.waiting < B.n - B.ended)
        return true;
    const thread *first = nullptr;
    for (unsigned t = 0; t < B.n; t++) {
        const thread &w = B.threads[t];
        if (w.at != AT_BARRIER)
            continue;
        if (first == nullptr)
            first = &w;
        else if (!same_place(w, first->file, first->line)) {
            fail("threads of a block wait at different barriers: %s:%d and %s:%d", first->file, first->line, w.file, w.line);
            return false;
        }
        make_ready(t);
    }
    B.waiting = 0;
    return true;
}

void run_threads(context *self)
{
    for (;;) {
        place(B.backwards ? B.n - 1 - B.started : B.started);
        B.started++;
        B.threads[B.now].at = RUNNING;
        B.threads[B.now].on = self;
        B.body->thread();
        B.threads[B.now].at = ENDED;
        B.ended++;
        if (B.waiting > 0 && !release())
            give_up();
        while (B.ready_count > 0 || B.started == B.n) {
            B.idle.push_back(self);
            if (B.ready_count > 0) {
                place(take_ready());
                B.threads[B.now].at = RUNNING;
                switch_to(B.threads[B.now].on);
            } else {
                switch_to(&B.host);
            }
            if (B.started < B.n) /* taken from the idle ones for a new thread */
                break;
        }
    }
}

void fiber_main()
{
    context *const self = running;
    arrived(self);
    run_threads(self);
}

void prepare(context *f)
{
#if defined(__SANITIZE_ADDRESS__)
    __asan_unpoison_memory_region(f->stack, f->bytes);
    f->fake = nullptr;
#endif
#if defined(__SANITIZE_THREAD__)
    if (f->fiber)
        __tsan_destroy_fiber(f->fiber);
    f->fiber = __tsan_create_fiber(0);
#endif
#if defined(__x86_64__)
    void **sp = (void **)((char *)f->stack + f->bytes);
    *--sp = nullptr; /* where fiber_main would return to */
    *--sp = (void *)fiber_main;
    for (int i = 0; i < 6; i++)
        *--sp = nullptr;
    f->sp = sp;
#else
    getcontext(&f->u);
    f->u.uc_stack.ss_sp = (void *)f->stack;
    f->u.uc_stack.ss_size = f->bytes;
    f->u.uc_link = nullptr;
    makecontext(&f->u, fiber_main, 0);
#endif
}

context *idle_fiber()
{
    if (B.idle.empty()) {
        const size_t step = stack_bytes + page_bytes; /* the lowest page of each stays closed */
        const size_t i = B.fibers.size();
        char *const low = B.stacks + i * step + page_bytes;
        if (mprotect(low, stack_bytes, PROT_READ | PROT_WRITE) != 0) {
            standin_say("no memory for the stacks of a block");
            __builtin_trap();
        }
        B.fibers.push_back(std::make_unique<context>());
        context *const f = B.fibers.back().get();
        f->stack = low;
        f->bytes = stack_bytes;
        prepare(f);
        return f;
    }
    context *const f = B.idle.back();
    B.idle.pop_back();
    return f;
}

/* The running thread waits: others run. Comes back when it is ready and its turn. */
void park()
{
    const unsigned me = B.now;
    context *to;
    if (B.ready_count > 0) {
        place(take_ready());
        B.threads[B.now].at = RUNNING;
        to = B.threads[B.now].on;
    } else if (B.started < B.n) {
        to = idle_fiber();
    } else {
        to = &B.host; /* nobody can go on */
    }
    if (to != B.threads[me].on)
        switch_to(to);
}

/* What a lane is given by an operation of its warp, once all that its mask names are there. */
uint64_t result_of(const thread *warp, unsigned lane)
{
    const thread &w = warp[lane];
    const int l = (int)lane, first = l & ~(w.width - 1), last = first + w.width - 1;
    int from = l;
    switch (w.kind) {
    case STANDIN_SYNC:
        return 0;
    case STANDIN_BALLOT: {
        uint64_t votes = 0;
        for (unsigned i = 0; i < lanes; i++)
            if (w.mask >> i & 1)
                votes |= warp[i].bits << i;
        return votes;
    }
    case STANDIN_SHUFFLE:
        from = first + (w.argument & (w.width - 1));
        break;
    case STANDIN_XOR:
        from = l ^ w.argument;
        from = from > last ? l : from;
        break;
    case STANDIN_UP:
        from = l - w.argument < first ? l : l - w.argument;
        break;
    case STANDIN_DOWN:
        from = l + w.argument > last ? l : l + w.argument;
        break;
    }
    if (from < 0 || from >= (int)lanes || !(w.mask >> from & 1)) {
        fail("lane %u shuffles from lane %d, which its mask 0x%08x does not name (%s:%d)", lane, from, w.mask, w.file, w.line);
        give_up();
    }
    return warp[from].bits;
}

const char *state_text(const thread &w, char *text, size_t size)
{
    switch (w.at) {
    case ENDED:
        snprintf(text, size, "ended");
        break;
    case AT_BARRIER:
        snprintf(text, size, "wait at the barrier %s:%d", w.file, w.line);
        break;
    case IN_WARP:
        snprintf(text, size, "wait for their warp at %s:%d, mask 0x%08x", w.file, w.line, w.mask);
        break;
    default:
        snprintf(text, size, "are about to run");
    }
    return text;
}

/* Says who waits where, when none of the block's threads can go on. */
void explain()
{
    standin_say("%s: the threads of a block wait for each other for ever:", standin_where());
    char text[512], next[512];
    for (unsigned t = 0; t < B.n;) {
        unsigned end = t + 1;
        state_text(B.threads[t], text, sizeof text);
        while (end < B.n && strcmp(state_text(B.threads[end], next, sizeof next), text) == 0)
            end++;
        standin_say("    threads %u to %u %s", t, end - 1, text);
        t = end;
    }
    B.failed = true;
}

/* ---- static shared memory: all thread_local variables of this module ---- */
struct tls {
    char *at = nullptr;
    size_t bytes = 0;
};
thread_local char tls_anchor; /* so that there is one, and has memory */

int find_tls(dl_phdr_info *info, size_t, void *out)
{
    const auto self = (ElfW(Addr))(void *)&find_tls;
    bool here = false;
    size_t file = 0, all = 0;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) &p = info->dlpi_phdr[i];
        if (p.p_type == PT_LOAD && self >= info->dlpi_addr + p.p_vaddr && self < info->dlpi_addr + p.p_vaddr + p.p_memsz)
            here = true;
        if (p.p_type == PT_TLS) {
            file = p.p_filesz;
            all = p.p_memsz;
        }
    }
    if (!here || info->dlpi_tls_data == nullptr)
        return 0;
    *static_cast<tls *>(out) = {(char *)info->dlpi_tls_data + file, all - file};
    return 1;
}

constexpr int poison = 0xff; /* NaN as float, double, bf16 and half; -1 as a whole number */

/* The part of the static shared memory that a kernel was seen to use. */
struct extent {
    const void *kernel;
    size_t from, to;
};
std::vector<extent> extents;

extent *extent_of(const void *kernel, bool *fresh)
{
    for (extent &e : extents)
        if (e.kernel == kernel) {
            *fresh = false;
            return &e;
        }
    extents.push_back({kernel, 0, 0});
    *fresh = true;
    return &extents.back();
}

void widen(const tls &s, extent *e)
{
    size_t from = 0, to = s.bytes;
    while (from < to && (unsigned char)s.at[from] == poison)
        from++;
    while (to > from && (unsigned char)s.at[to - 1] == poison)
        to--;
    if (from == to)
        return;
    *e = {e->kernel, e->to > e->from && e->from < from ? e->from : from, e->to > to ? e->to : to};
}

bool run_block(const tls &s, const extent &e, size_t shared)
{
    B.n = blockDim.x * blockDim.y * blockDim.z;
    B.started = B.ended = B.waiting = B.ready_head = B.ready_count = 0;
    for (unsigned t = 0; t < B.n; t++)
        B.threads[t].at = UNSTARTED;
    memset(B.here, 0, sizeof B.here);
    memset(s.at + e.from, poison, e.to - e.from);
    memset(B.shared, poison, shared);
    switch_to(idle_fiber());
    if (!B.failed && B.ended < B.n)
        explain();
    if (!B.failed)
        return true;
    B.idle.clear();
    for (const auto &f : B.fibers) {
        prepare(f.get());
        B.idle.push_back(f.get());
    }
    return false;
}

} // namespace

void *standin_shared()
{
    return B.shared;
}

bool standin_stack_guard(const void *p)
{
    const size_t step = stack_bytes + page_bytes;
    const auto at = (size_t)((const char *)p - B.stacks);
    return B.stacks && (const char *)p >= B.stacks && at < step * most_threads && at % step < page_bytes;
}

const char *standin_where()
{
    static char text[768];
    if (B.body == nullptr)
        return nullptr;
    const char *types = strstr(B.body->types, "P = {");
    types = types ? types + 5 : B.body->types;
    snprintf(text, sizeof text, "kernel (%.*s), block %u,%u,%u, thread %u,%u,%u", (int)strcspn(types, "}"), types, blockIdx.x, blockIdx.y,
        blockIdx.z, threadIdx.x, threadIdx.y, threadIdx.z);
    return text;
}

void standin_misaligned(const void *p, size_t to)
{
    fail("an access to %p, which is not a multiple of %zu bytes", p, to);
    give_up();
}

void standin_barrier(const char *file, int line)
{
    thread &me = B.threads[B.now];
    me.at = AT_BARRIER;
    me.file = file;
    me.line = line;
    B.waiting++;
    if (!release())
        give_up();
    park();
}

uint64_t standin_warp(
    standin_kind kind, unsigned mask, uint64_t bits, int argument, int width, const char *file, int line)
{
    const unsigned lane = B.now % lanes;
    thread *const warp = &B.threads[B.now - lane];
    thread &me = warp[lane];
    const unsigned there = B.n - (B.now - lane) >= lanes ? 0xffffffffu : (1u << (B.n - (B.now - lane))) - 1;
    if (!(mask >> lane & 1) || (mask & ~there) != 0 || width <= 0 || width > (int)lanes || (width & (width - 1)) != 0) {
        fail("%s:%d: mask 0x%08x, width %d in lane %u of a warp with lanes 0x%08x", file, line, mask, width, lane, there);
        give_up();
    }
    me.at = IN_WARP;
    me.kind = kind;
    me.mask = mask;
    me.bits = bits;
    me.argument = argument;
    me.width = width;
    me.file = file;
    me.line = line;
    unsigned &here = B.here[B.now / lanes];
    here |= 1u << lane;
    if ((here & mask) != mask) {
        park();
        return me.bits;
    }
    for (unsigned i = 0; i < lanes; i++) {
        if (!(mask >> i & 1))
            continue;
        const thread &w = warp[i];
        if (w.mask != mask) {
            park();
            return me.bits;
        }
        if (w.kind != kind || !same_place(w, file, line)) {
            fail("lanes %u and %u of a warp wait for each other at different places: %s:%d and %s:%d", i, lane, w.file, w.line, file, line);
            give_up();
        }
    }
    here &= ~mask;
    uint64_t results[lanes];
    for (unsigned i = 0; i < lanes; i++)
        if (mask >> i & 1)
            results[i] = result_of(warp, i);
    for (unsigned i = 0; i < lanes; i++)
        if (mask >> i & 1) {
            warp[i].bits = results[i];
            if (i != lane)
                make_ready(B.now - lane + i);
        }
    me.at = RUNNING;
    return me.bits;
}

bool standin_run(const standin_body &body, dim3 grid, dim3 block, size_t shared)
{
    static uint64_t launches, blocks;
    if (B.stacks == nullptr) {
        void *const p = mmap(nullptr, (stack_bytes + page_bytes) * most_threads, PROT_NONE,
            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (p == MAP_FAILED) {
            standin_say("no address space for the stacks of a block");
            return false;
        }
        B.stacks = static_cast<char *>(p);
    }
    asm volatile("" : : "r"(&tls_anchor) : "memory"); /* asking for the address gives this thread the memory */
    tls s;
    dl_iterate_phdr(find_tls, &s);
    if (s.at == nullptr) {
        standin_say("static shared memory was not found");
        return false;
    }
    bool fresh;
    extent *const e = extent_of(body.key, &fresh);
    if (fresh)
        memset(s.at, poison, s.bytes);
    running = &B.host;
    B.host.stack = nullptr;
#if defined(__SANITIZE_THREAD__)
    B.host.fiber = __tsan_get_current_fiber();
#endif
    B.body = &body;
    B.failed = false;
    blockDim = block;
    gridDim = grid;
    const uint64_t count = (uint64_t)grid.x * grid.y * grid.z;
    const bool backwards = launches++ % 2 == 1;
    for (uint64_t i = 0; i < count; i++) {
        const uint64_t b = backwards ? count - 1 - i : i;
        blockIdx = {(unsigned)(b % grid.x), (unsigned)(b / grid.x % grid.y), (unsigned)(b / grid.x / grid.y)};
        B.backwards = blocks++ % 2 == 1;
        if (!run_block(s, *e, shared))
            break;
        if (fresh && (i == 0 || i == count - 1))
            widen(s, e);
    }
    B.body = nullptr;
    return !B.failed;
}
