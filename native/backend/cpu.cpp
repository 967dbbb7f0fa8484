#include "backend/cpu.h"

#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdlib>
#include <string>
#include <unordered_map>

#include "backend/cpu/table.h"

namespace stepd {
namespace {

struct CpuFeatures {
    bool avx2 = false;
    bool avx512 = false;
    bool amx = false;
};

uint64_t enabled_state() {  // XCR0: the register files that the kernel saves on a context switch
    uint32_t low, high;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return uint64_t(high) << 32 | low;
}

// Linux hands out the 8 KiB of tile state only on request, once per process; later threads inherit the permission.
bool permit_tiles() {
    constexpr long kArchReqXcompPerm = 0x1023, kTileData = 18;
    return syscall(SYS_arch_prctl, kArchReqXcompPerm, kTileData) == 0;
}

// The bits that the compiler flags of CMakeLists.txt rely on, per set.
CpuFeatures detect() {
    CpuFeatures f;
    uint32_t a, b1, c1, d1, b7, c7, d7, a71, b71, c71, d71;
    if (!__get_cpuid(1, &a, &b1, &c1, &d1) || !(c1 & bit_OSXSAVE)) return f;
    if (!__get_cpuid_count(7, 0, &a, &b7, &c7, &d7)) return f;
    if (a < 1 || !__get_cpuid_count(7, 1, &a71, &b71, &c71, &d71)) a71 = 0;
    uint64_t state = enabled_state();
    auto all = [](uint64_t word, uint64_t bits) { return (word & bits) == bits; };
    f.avx2 = all(state, 0x6) && all(c1, bit_FMA | bit_F16C | bit_AVX) && all(b7, bit_AVX2 | bit_BMI2);
    f.avx512 = f.avx2 && all(state, 0xe6) && all(b7, bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL);
    f.amx = f.avx512 && all(state, 0x60000) && all(c7, bit_AVX512VBMI) && all(a71, bit_AVX512BF16) &&
            all(d7, bit_AMX_TILE | bit_AMX_BF16) && permit_tiles();
    return f;
}

const CpuFeatures& features() {
    static const CpuFeatures f = detect();
    return f;
}

struct IsaEntry {
    const char* name;
    bool CpuFeatures::*available;
    const CpuKernel* (*table)();
};
const IsaEntry kIsas[] = {
    // narrowest first
    {"avx2", &CpuFeatures::avx2, stepd_cpu_kernels_avx2},
    {"avx512", &CpuFeatures::avx512, stepd_cpu_kernels_avx512},
    {"amx", &CpuFeatures::amx, stepd_cpu_kernels_amx},
};

const IsaEntry& choose_isa() {
    const char* forced = std::getenv("STEPD_ISA");
    if (forced && *forced) {
        for (const auto& isa : kIsas) {
            if (std::string(forced) != isa.name) continue;
            STEPD_REQUIRE(features().*isa.available, Code::unsupported, "STEPD_ISA = ", forced,
                          ": this machine does not have that instruction set; unset STEPD_ISA");
            return isa;
        }
        STEPD_THROW(Code::invalid, "STEPD_ISA = \"", forced, "\" is not one of avx2, avx512, amx");
    }
    const IsaEntry* best = nullptr;
    for (const auto& isa : kIsas)
        if (features().*isa.available) best = &isa;
    STEPD_REQUIRE(best, Code::unsupported, "the CPU backend needs a processor with AVX2 and FMA");
    return *best;
}

class CpuBackend : public Backend {
public:
    CpuBackend(const IsaEntry& isa, int threads) : pool_(threads) {
        for (const CpuKernel* k = isa.table(); k->op; k++) kernels_.emplace(k->op, k->kernel);
    }
    const char* name() const override { return "cpu"; }
    Kernel find(const std::string& op) const override {
        auto it = kernels_.find(op);
        return it == kernels_.end() ? nullptr : it->second;
    }
    Pool* pool() override { return &pool_; }

private:
    std::unordered_map<std::string, Kernel> kernels_;
    Pool pool_;
};

}  // namespace

std::unique_ptr<Backend> make_cpu_backend(int threads) { return std::make_unique<CpuBackend>(choose_isa(), threads); }

const char* cpu_isa() { return choose_isa().name; }

std::vector<std::string> cpu_isas() {
    std::vector<std::string> names;
    for (const auto& isa : kIsas)
        if (features().*isa.available) names.push_back(isa.name);
    return names;
}

}  // namespace stepd
