// Declares the object of every optimizer, for the instruction set of this translation unit.
#pragma once

#include "optim/optimizer.h"

namespace stepd::STEPD_ISA {

#define STEPD_OPTIMIZER(name) extern const OptimizerMethod name;
#include "optim/optimizers.inc"
#undef STEPD_OPTIMIZER

}  // namespace stepd::STEPD_ISA
