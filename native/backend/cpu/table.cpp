// The kernel table of one instruction set; the only symbol that leaves it (see CMakeLists.txt).
#include "backend/cpu/table.h"

#include "backend/cpu/kernels.h"

namespace {
const stepd::CpuKernel table[] = {
#define STEPD_OP(name) {#name, stepd::STEPD_ISA::op_##name},
#include "ops/ops.inc"
#undef STEPD_OP
    {nullptr, nullptr},
};
}  // namespace

#define STEPD_JOIN_(a, b) a##b
#define STEPD_JOIN(a, b) STEPD_JOIN_(a, b)
extern "C" const stepd::CpuKernel* STEPD_JOIN(stepd_cpu_kernels_, STEPD_ISA)() { return table; }
