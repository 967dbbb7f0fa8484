// Runs a kernel check under every instruction set and element type.
#pragma once

#include <functional>

#include "tests/kernel_harness.h"

namespace stepd::test {

// Calls check(isa, dtype) for each instruction set of this machine, f32 and bf16.
inline void for_each_case(const std::function<void(const std::string& isa, DType dtype)>& check) {
    for (const std::string& isa : test_isas())
        for (DType dtype : {DType::f32, DType::bf16}) {
            SCOPED_TRACE(isa + " " + name_of(dtype));
            check(isa, dtype);
        }
}

// For tensors of any size, one element included: half a unit in the last place of bf16 is 4e-3.
inline double element_tolerance(DType dtype) { return dtype == DType::bf16 ? 4e-3 : 4e-6; }

// Central difference of f along element i of x.
inline double finite_difference(const std::function<double(const std::vector<double>&)>& f, std::vector<double> x,
                                size_t i, double step = 1e-5) {
    double middle = x[i];
    x[i] = middle + step;
    double above = f(x);
    x[i] = middle - step;
    double below = f(x);
    return (above - below) / (2 * step);
}

inline double dot(const std::vector<double>& a, const std::vector<double>& b) {
    double total = 0;
    for (size_t i = 0; i < a.size(); i++) total += a[i] * b[i];
    return total;
}

}  // namespace stepd::test
