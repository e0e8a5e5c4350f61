/* A driver without a GPU behind it, for the tests of what happens before one is used. The
 * environment says which CUDA it serves (FAKE_CUDA, such as 13000) and the capability of its
 * one GPU (FAKE_CAPABILITY, such as 75). The other functions are added by test_loading.py. */
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
