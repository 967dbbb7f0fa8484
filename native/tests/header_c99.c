/* The C interface must compile as strict C99 and be usable from it. */
#include <stepd/stepd.h>

int32_t stepd_test_c99(stepd_error* error, stepd_buffer* info);

int32_t stepd_test_c99(stepd_error* error, stepd_buffer* info) {
    error->struct_size = sizeof *error;
    if (stepd_abi_version() != STEPD_ABI_VERSION) return -1;
    return (int32_t)stepd_info(info, error);
}
