// Attention on AMX tiles, for bf16 on machines that have them.
#pragma once

#ifdef STEPD_ISA_amx

#include "backend/cpu/attention_shapes.h"

namespace stepd::STEPD_ISA {

bool attention_amx_applies(const KernelArgs& k);      // q, k and v are bf16
bool attention_bwd_amx_applies(const KernelArgs& k);  // and so is the gradient of o
void attention_amx(const KernelArgs& k, const AttentionShapes& s);
void attention_bwd_amx(const KernelArgs& k, const AttentionShapes& s);

}  // namespace stepd::STEPD_ISA

#endif
