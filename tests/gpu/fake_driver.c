/* A driver without a GPU behind it. The environment says which CUDA it serves (FAKE_CUDA, such as
 * 13000) and the capability of its one GPU (FAKE_CAPABILITY, such as 75). With FAKE_MEMORY it also
 * copies to and fro: from locked memory as late as it may, when somebody waits, so that who
 * overwrites or gives back such memory too early is found out. The other functions are added by
 * test_loading.py; they fail. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int number(const char *name, int otherwise) {
    const char *text = getenv(name);
    return text ? atoi(text) : otherwise;
}

int cuDriverGetVersion(int *version) { *version = number("FAKE_CUDA", 13000); return 0; }
int cuInit(unsigned flags) { (void)flags; return 0; }
int cuDeviceGetCount(int *count) { *count = 1; return 0; }
int cuDeviceGet(int *device, int ordinal) { *device = ordinal; return 0; }
int cuDeviceTotalMem_v2(size_t *bytes, int device) { (void)device; *bytes = (size_t)80 << 30; return 0; }
int cuDeviceGetName(char *name, int length, int device) {
    (void)device;
    strncpy(name, "Fake GPU", length);
    return 0;
}
int cuDeviceGetAttribute(int *value, int which, int device) {
    (void)device;
    int capability = number("FAKE_CAPABILITY", 80);
    *value = which == 75 ? capability / 10 : which == 76 ? capability % 10 : 0;
    return 0;
}

#define FAILS_WITHOUT_MEMORY \
    if (!number("FAKE_MEMORY", 0)) return 100

typedef unsigned long long pointer;

/* The copies that were asked for and not made, in their order. */
static struct { char *to; const char *from; size_t size; } pending[4096];
static int waiting;
/* The places in locked memory. */
static struct { char *start; size_t size; } locked[64];

static void fetch(void) {
    for (int i = 0; i < waiting; i++) memcpy(pending[i].to, pending[i].from, pending[i].size);
    waiting = 0;
}
static int lies_in(int i, const char *at) {
    return locked[i].start && locked[i].start <= at && at < locked[i].start + locked[i].size;
}
static int is_locked(const char *at) {
    for (int i = 0; i < 64; i++)
        if (lies_in(i, at)) return 1;
    return 0;
}

int cuDevicePrimaryCtxRetain(void **context, int device) {
    (void)device;
    FAILS_WITHOUT_MEMORY;
    *context = &waiting;
    return 0;
}
int cuDevicePrimaryCtxRelease_v2(int device) { (void)device; return 0; }
int cuCtxGetCurrent(void **context) { FAILS_WITHOUT_MEMORY; *context = &waiting; return 0; }
int cuCtxSetCurrent(void *context) { (void)context; FAILS_WITHOUT_MEMORY; return 0; }
int cuCtxSynchronize(void) { FAILS_WITHOUT_MEMORY; fetch(); return 0; }
int cuStreamCreate(void **stream, unsigned flags) {
    (void)flags;
    FAILS_WITHOUT_MEMORY;
    *stream = &pending;
    return 0;
}
int cuStreamDestroy_v2(void *stream) { (void)stream; return 0; }
int cuStreamSynchronize(void *stream) { (void)stream; FAILS_WITHOUT_MEMORY; fetch(); return 0; }
int cuEventCreate(void **event, unsigned flags) {
    (void)flags;
    FAILS_WITHOUT_MEMORY;
    *event = malloc(sizeof(int));
    *(int *)*event = 0;
    return 0;
}
int cuEventRecord(int *event, void *stream) { (void)stream; FAILS_WITHOUT_MEMORY; *event = 1; return 0; }
int cuEventSynchronize(int *event) { FAILS_WITHOUT_MEMORY; if (*event) fetch(); return 0; }
int cuEventDestroy_v2(void *event) { free(event); return 0; }
int cuMemAlloc_v2(pointer *place, size_t size) {
    FAILS_WITHOUT_MEMORY;
    *place = (pointer)malloc(size);
    return 0;
}
int cuMemFree_v2(pointer place) { FAILS_WITHOUT_MEMORY; fetch(); free((void *)place); return 0; }
int cuMemHostAlloc(void **place, size_t size, unsigned flags) {
    (void)flags;
    FAILS_WITHOUT_MEMORY;
    for (int i = 0; i < 64; i++)
        if (!locked[i].start) {
            *place = locked[i].start = malloc(size);
            locked[i].size = size;
            fprintf(stderr, "locked %zu bytes\n", size);
            return 0;
        }
    return 2;
}
int cuMemFreeHost(char *place) {
    FAILS_WITHOUT_MEMORY;
    for (int i = 0; i < 64; i++)
        if (locked[i].start == place) {
            for (int j = 0; j < waiting; j++)
                if (lies_in(i, pending[j].from)) abort(); /* it was still to be fetched from */
            locked[i].start = NULL;
        }
    free(place);
    return 0;
}
int cuMemcpyHtoDAsync_v2(pointer to, const char *from, size_t size, void *stream) {
    (void)stream;
    FAILS_WITHOUT_MEMORY;
    if (is_locked(from) && waiting < 4096) {
        pending[waiting].to = (char *)to;
        pending[waiting].from = from;
        pending[waiting++].size = size;
        return 0;
    }
    fetch();
    memcpy((char *)to, from, size);
    return 0;
}
int cuMemcpyDtoHAsync_v2(char *to, pointer from, size_t size, void *stream) {
    (void)stream;
    FAILS_WITHOUT_MEMORY;
    fetch();
    memcpy(to, (const char *)from, size);
    return 0;
}
