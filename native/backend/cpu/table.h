// Kernel tables, one per instruction set, each ended by a null name.
#pragma once

#include "backend/backend.h"

namespace stepd {
struct CpuKernel {
    const char* op;
    Kernel kernel;
};
}  // namespace stepd

extern "C" {
const stepd::CpuKernel* stepd_cpu_kernels_avx2();
const stepd::CpuKernel* stepd_cpu_kernels_avx512();
const stepd::CpuKernel* stepd_cpu_kernels_amx();
// The AMX kernels over tiles emulated in AVX-512; linked into the tests only.
const stepd::CpuKernel* stepd_cpu_kernels_amx_emulated();
}
