/* Finds and loads the CUDA module. */
#include "cuda/cuda.h"

#include "base/buf.h"
#include "base/file.h"
#include "base/mem.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FILE_NAME "liblockstep_cuda.so"

static const lk_cuda_module *loaded;

/* Where the program is, and where an installed one has its modules. */
static lk_status find(char **path)
{
    static const char *const beside[] = {FILE_NAME, "../lib/lockstep/" FILE_NAME, "../lib/" FILE_NAME};
    const char *given = getenv("LOCKSTEP_CUDA_MODULE");
    char self[4096];

    if (given != NULL)
        return lk_strdup(given, path);
    const ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n > 0) {
        self[n] = 0;
        char *slash = strrchr(self, '/');
        if (slash != NULL)
            *slash = 0;
        for (size_t i = 0; i < sizeof beside / sizeof beside[0]; i++) {
            LK_TRY(lk_path_join(self, beside[i], path));
            if (lk_file_exists(*path))
                return LK_OK;
            lk_free(*path);
            *path = NULL;
        }
    }
    return LK_FAIL(LK_E_NOT_FOUND, "this lockstep was built without its CUDA module (%s, beside the program or in ../lib/lockstep)", FILE_NAME);
}

static lk_status load(const char *path, const lk_cuda_module **out)
{
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);

    if (handle == NULL)
        return LK_FAIL(LK_E_LIBRARY, "the CUDA module cannot be loaded: %s", dlerror());
    const lk_cuda_module *m = dlsym(handle, "lk_cuda_module_table");
    if (m == NULL || m->abi != LK_CUDA_ABI || strcmp(m->version, LK_VERSION) != 0)
        return LK_FAIL(LK_E_UNSUPPORTED, "%s belongs to another version of lockstep (%s; this is %s)", path, m == NULL ? "none" : m->version, LK_VERSION);
    *out = m; /* stays loaded: its libraries do not like to be unloaded */
    return LK_OK;
}

lk_status lk_cuda_find(void)
{
    char *path = NULL;

    LK_TRY(find(&path));
    lk_free(path);
    return LK_OK;
}

lk_status lk_cuda_load(const lk_cuda_module **out)
{
    char *path = NULL;
    lk_status st = LK_OK;

    if (loaded == NULL) {
        LK_TRY(find(&path));
        st = load(path, &loaded);
        lk_free(path);
    }
    *out = loaded;
    return st;
}
