// Declares op_<name>, the kernel of every op in ops/ops.inc, for the instruction set of this translation unit.
#pragma once

#include "backend/backend.h"
#include "backend/cpu/simd.h"

namespace stepd::STEPD_ISA {

#define STEPD_OP(name) void op_##name(const KernelArgs& k);
#include "ops/ops.inc"
#undef STEPD_OP

}  // namespace stepd::STEPD_ISA
