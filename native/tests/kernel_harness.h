// Helpers of the kernel tests: host tensors, one kernel call in a chosen instruction set, comparison with float64.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "backend/cpu.h"
#include "backend/cpu/table.h"
#include "base/pool.h"
#include "base/tensor.h"

namespace stepd::test {

// A tensor that owns its memory. It is filled with NaN at first, so that an element that a kernel leaves out shows, and
// is followed by guard bytes, so that a write past the end shows.
class HostTensor {
public:
    HostTensor(Shape shape, DType dtype) : shape_(std::move(shape)), dtype_(dtype) {
        bytes_.assign(payload() + kGuard, kFill);
    }
    HostTensor(Shape shape, DType dtype, const std::vector<double>& values) : HostTensor(std::move(shape), dtype) {
        for (size_t i = 0; i < values.size(); i++) set(i, values[i]);
    }

    const Shape& shape() const { return shape_; }
    DType dtype() const { return dtype_; }
    size_t size() const { return size_t(numel(shape_)); }
    Tensor view() const { return Tensor{const_cast<uint8_t*>(bytes_.data()), dtype_, shape_}; }

    double at(size_t i) const {
        const uint8_t* p = bytes_.data() + i * size_of(dtype_);
        if (dtype_ == DType::i32) return read<int32_t>(p);
        return dtype_ == DType::f32 ? read<float>(p) : to_float(read<bf16>(p));
    }
    void set(size_t i, double v) {
        uint8_t* p = bytes_.data() + i * size_of(dtype_);
        if (dtype_ == DType::i32) write(p, int32_t(v));
        if (dtype_ == DType::f32) write(p, float(v));
        if (dtype_ == DType::bf16) write(p, to_bf16(float(v)));
    }
    std::vector<double> values() const {
        std::vector<double> out(size());
        for (size_t i = 0; i < out.size(); i++) out[i] = at(i);
        return out;
    }
    bool guard_intact() const {
        for (size_t i = payload(); i < bytes_.size(); i++)
            if (bytes_[i] != kFill) return false;
        return true;
    }
    bool same_bits(const HostTensor& other) const { return shape_ == other.shape_ && bytes_ == other.bytes_; }

private:
    static constexpr size_t kGuard = 64;
    static constexpr uint8_t kFill = 0xff;  // NaN in both float types
    size_t payload() const { return size() * size_of(dtype_); }
    template <class T>
    static T read(const uint8_t* p) {
        T v;
        std::memcpy(&v, p, sizeof v);
        return v;
    }
    template <class T>
    static void write(uint8_t* p, T v) {
        std::memcpy(p, &v, sizeof v);
    }

    Shape shape_;
    DType dtype_;
    std::vector<uint8_t> bytes_;
};

// Normally distributed values with the given standard deviation, already rounded to dtype: the same for the same seed.
inline HostTensor random_tensor(Shape shape, DType dtype, uint32_t seed, double deviation = 1.0, double mean = 0.0) {
    HostTensor t(std::move(shape), dtype);
    std::mt19937 generator(seed);
    std::normal_distribution<double> normal(mean, deviation);
    for (size_t i = 0; i < t.size(); i++) t.set(i, normal(generator));
    return t;
}

// The instruction sets that kernels can be tested under here, narrowest first; "amx_emulated" runs the tile kernels on
// machines without tiles.
inline std::vector<std::string> test_isas() {
    std::vector<std::string> isas = cpu_isas();
    if (__builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512vbmi")) isas.push_back("amx_emulated");
    return isas;
}

inline const CpuKernel* kernel_table(const std::string& isa) {
    if (isa == "avx2") return stepd_cpu_kernels_avx2();
    if (isa == "avx512") return stepd_cpu_kernels_avx512();
    if (isa == "amx") return stepd_cpu_kernels_amx();
    if (isa == "amx_emulated") return stepd_cpu_kernels_amx_emulated();
    STEPD_THROW(Code::invalid, "no kernel table for instruction set ", isa);
}

inline Kernel find_kernel(const std::string& isa, const std::string& op) {
    for (const CpuKernel* k = kernel_table(isa); k->op; k++)
        if (op == k->op) return k->kernel;
    STEPD_THROW(Code::invalid, "no kernel ", op, " for instruction set ", isa);
}

// One pool per thread count, kept for the whole test program.
inline Pool& pool_of(int threads) {
    static std::map<int, std::unique_ptr<Pool>> pools;
    auto& pool = pools[threads];
    if (!pool) pool = std::make_unique<Pool>(threads);
    return *pool;
}

// Shape and type of an output.
struct OutputSpec {
    Shape shape;
    DType dtype;
};

// Calls one kernel; null inputs are absent optional arguments.
inline std::vector<HostTensor> run_kernel(const std::string& isa, const std::string& op,
                                          const std::vector<const HostTensor*>& inputs,
                                          const std::vector<OutputSpec>& outputs, const Attrs& attrs = {},
                                          int threads = 2) {
    std::vector<HostTensor> results;
    std::vector<Tensor> in, out;
    for (const HostTensor* t : inputs) in.push_back(t ? t->view() : Tensor{});
    for (const auto& spec : outputs) results.emplace_back(spec.shape, spec.dtype);
    for (const auto& t : results) out.push_back(t.view());
    find_kernel(isa, op)(KernelArgs{in, out, attrs, pool_of(threads)});
    for (size_t i = 0; i < results.size(); i++)
        EXPECT_TRUE(results[i].guard_intact()) << op << " (" << isa << ") wrote past the end of output " << i;
    return results;
}

// As above, and expects bit-equal results under 1, 2 and 5 threads.
inline std::vector<HostTensor> run_kernel_all_threads(const std::string& isa, const std::string& op,
                                                      const std::vector<const HostTensor*>& inputs,
                                                      const std::vector<OutputSpec>& outputs, const Attrs& attrs = {}) {
    auto one = run_kernel(isa, op, inputs, outputs, attrs, 1);
    for (int threads : {2, 5}) {
        auto many = run_kernel(isa, op, inputs, outputs, attrs, threads);
        for (size_t i = 0; i < one.size(); i++)
            EXPECT_TRUE(one[i].same_bits(many[i]))
                << op << " (" << isa << ") output " << i << " differs between 1 and " << threads << " threads";
    }
    return one;
}

// |got - want| / |want| in the Euclidean norm; infinite when got holds a NaN or the sizes differ.
inline double relative_l2(const std::vector<double>& got, const std::vector<double>& want) {
    if (got.size() != want.size()) return INFINITY;
    double difference = 0, norm = 0;
    for (size_t i = 0; i < got.size(); i++) {
        if (std::isnan(got[i])) return INFINITY;
        difference += (got[i] - want[i]) * (got[i] - want[i]);
        norm += want[i] * want[i];
    }
    return norm > 0 ? std::sqrt(difference / norm) : std::sqrt(difference);
}

// Rounding to dtype alone gives about 2e-8 (f32) or 1.7e-3 (bf16); the rest is room for f32 accumulation.
inline double tolerance(DType dtype) { return dtype == DType::bf16 ? 2.5e-3 : 2e-6; }

inline void expect_close(const HostTensor& got, const std::vector<double>& want, double tolerance,
                         const std::string& what) {
    EXPECT_LE(relative_l2(got.values(), want), tolerance) << what << " " << to_string(got.shape());
}

}  // namespace stepd::test
