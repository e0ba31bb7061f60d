/* The shared library loaded at run time, again and again, beside a copy that is linked in.
 *
 *     loaded LIBRARY MODEL */
#include <palisade.h>

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

typedef const char *(*version_fn)(void);
typedef palisade_status_t (*cancel_fn)(palisade_session_t *);
typedef palisade_status_t (*init_fn)(palisade_engine_options_t *, size_t);
typedef palisade_status_t (*open_fn)(const palisade_engine_options_t *, palisade_engine_t **);
typedef palisade_status_t (*info_fn)(const palisade_engine_t *, palisade_engine_info_t *, size_t);
typedef palisade_status_t (*free_fn)(palisade_engine_t **);

/* A function out of a library: ISO C has no cast from an object pointer to a function pointer. */
static int find(void *library, const char *name, void *function, size_t size) {
    void *found = dlsym(library, name);
    if (found == NULL || size != sizeof found) return 0;
    memcpy(function, &found, size);
    return 1;
}
#define FIND(function, name) find(library, name, &(function), sizeof(function))

static int once(const char *path, const char *model) {
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    palisade_engine_options_t options;
    palisade_engine_info_t info;
    palisade_engine_t *theirs = NULL, *ours = NULL;
    version_fn version;
    cancel_fn cancel;
    init_fn init;
    open_fn open;
    info_fn about;
    free_fn release;
    if (library == NULL) return 10;
    if (!FIND(version, "palisade_version") || !FIND(cancel, "palisade_session_cancel")) return 11;
    if (!FIND(init, "palisade_engine_options_init") || !FIND(open, "palisade_engine_open")) return 12;
    if (!FIND(about, "palisade_engine_info") || !FIND(release, "palisade_engine_free")) return 13;
    if (version == palisade_version || strcmp(version(), palisade_version()) != 0) return 14;
    if (cancel(NULL) != PALISADE_ARG) return 15;
    if (model != NULL) {
        /* Each copy has its own handles. */
        if (init(&options, sizeof options) != PALISADE_OK) return 16;
        options.model = palisade_str(model);
        if (open(&options, &theirs) != PALISADE_OK) return 17;
        if (palisade_engine_open(&options, &ours) != PALISADE_OK) return 18;
        if (about(theirs, &info, sizeof info) != PALISADE_OK) return 19;
        if (palisade_engine_info(ours, &info, sizeof info) != PALISADE_OK) return 20;
        if (release(&theirs) != PALISADE_OK || palisade_engine_free(&ours) != PALISADE_OK) return 21;
    }
    return dlclose(library) == 0 ? 0 : 22;
}

int main(int argc, char **argv) {
    int round, result = argc == 3 ? once(argv[1], argv[2]) : 2;
    for (round = 0; round < 10 && result == 0; round++) result = once(argv[1], NULL);
    if (result != 0) fprintf(stderr, "step %d failed\n", result);
    return result;
}
