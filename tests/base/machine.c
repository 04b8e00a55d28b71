#include "base/file.h"
#include "base/machine.h"
#include "base/mem.h"
#include "base/support.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static char room[64];

static void enter(void)
{
    strcpy(room, "/tmp/lockstep-test-machine.XXXXXX");
    cr_assert(mkdtemp(room) != NULL);
}

static void leave(void)
{
    EXPECT_OK(lk_dir_remove(room));
}

TestSuite(machine, .init = enter, .fini = leave);

static void put(const char *name, const char *text)
{
    char path[256], *folder = NULL;

    snprintf(path, sizeof path, "%s/%s", room, name);
    EXPECT_OK(lk_path_dir(path, &folder));
    EXPECT_OK(lk_dir_create(folder));
    EXPECT_OK(lk_file_write_atomic(path, text, strlen(text)));
    lk_free(folder);
}

static void expect(int64_t bytes, const char *file)
{
    char by[LK_AVAILABLE_TEXT], path[256] = "";

    if (file[0] != 0)
        snprintf(path, sizeof path, "%s/%s", room, file);
    cr_expect(lk_available_bytes(room, by) == bytes);
    cr_expect(strcmp(by, path) == 0, "%s", by);
}

Test(machine, nothing_is_known)
{
    expect(INT64_MAX, "");
}

Test(machine, what_the_system_says)
{
    put("proc/meminfo", "MemTotal:  900 kB\nMemFree:  100 kB\nMemAvailable:  300 kB\nSwapFree: 5 kB\n");
    expect(300 * 1024, "proc/meminfo");
}

Test(machine, groups_of_version_2)
{
    put("proc/meminfo", "MemAvailable:  300 kB\n");
    put("proc/self/cgroup", "0::/job/step\n");
    put("sys/fs/cgroup/job/step/memory.max", "max\n");
    put("sys/fs/cgroup/job/step/memory.current", "100\n");
    expect(300 * 1024, "proc/meminfo");
    /* The limit of a group above; pages of files can go. */
    put("sys/fs/cgroup/job/memory.max", "5000\n");
    put("sys/fs/cgroup/job/memory.current", "4000\n");
    put("sys/fs/cgroup/job/memory.stat", "anon 7\nactive_file 9\ninactive_file 500\n");
    expect(1500, "sys/fs/cgroup/job/memory.max");
    /* More is used than the limit allows: nothing is left, not less. */
    put("sys/fs/cgroup/job/step/memory.max", "50\n");
    expect(0, "sys/fs/cgroup/job/step/memory.max");
}

Test(machine, groups_of_version_1)
{
    put("proc/meminfo", "MemAvailable:  300 kB\n");
    put("proc/self/cgroup", "12:cpuset:/elsewhere\n9:memory:/slurm/job\n0::/\n");
    put("sys/fs/cgroup/memory/slurm/job/memory.limit_in_bytes", "9223372036854771712\n");
    put("sys/fs/cgroup/memory/slurm/job/memory.usage_in_bytes", "100\n");
    expect(300 * 1024, "proc/meminfo");
    put("sys/fs/cgroup/memory/memory.limit_in_bytes", "2000\n");
    put("sys/fs/cgroup/memory/memory.usage_in_bytes", "800\n");
    expect(1200, "sys/fs/cgroup/memory/memory.limit_in_bytes");
}

/* Ten million bytes that are written to are in memory. */
Test(machine, resident_bytes_grow)
{
    const int64_t before = lk_resident_bytes();
    char *block = NULL;

    cr_expect(before > 0);
    EXPECT_OK(lk_alloc(10000000, "block", &block));
    const int64_t more = lk_resident_bytes() - before;
    cr_expect(more > 9000000 && more < 20000000, "%ld", (long)more);
    lk_free(block);
}
