// The CPU backend: picks the widest instruction set that this machine has (STEPD_ISA=avx2|avx512|amx forces one).
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "backend/backend.h"

namespace stepd {

// threads: 0 = one per core. Throws Code::unsupported when the machine has no AVX2 with FMA, or lacks the forced set.
std::unique_ptr<Backend> make_cpu_backend(int threads = 0);
std::unique_ptr<Backend> make_null_backend();

// "avx2", "avx512" or "amx": what make_cpu_backend would use now.
const char* cpu_isa();

// Every set that this machine has, narrowest first.
std::vector<std::string> cpu_isas();

}  // namespace stepd
