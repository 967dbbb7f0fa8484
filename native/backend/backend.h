// A backend turns nodes into kernel calls. The CPU backend is the reference; `null` executes nothing.
#pragma once

#include <span>
#include <string>

#include "base/pool.h"
#include "base/tensor.h"
#include "graph/graph.h"

namespace stepd {

struct KernelArgs {
    std::span<const Tensor> in;  // absent optional inputs have null data
    std::span<const Tensor> out;
    const Attrs& attrs;
    Pool& pool;

    double attr(const char* key) const { return attrs.at(key); }
    double attr(const char* key, double fallback) const {
        auto it = attrs.find(key);
        return it == attrs.end() ? fallback : it->second;
    }
};

// Computes every output completely (kernels overwrite, they never accumulate into what was there).
using Kernel = void (*)(const KernelArgs&);

class Backend {
public:
    virtual ~Backend() = default;
    virtual const char* name() const = 0;                  // "cpu", "null"
    virtual Kernel find(const std::string& op) const = 0;  // null when the backend lacks the op
    virtual bool executes() const { return true; }         // false: plans only, allocates nothing
    virtual Pool* pool() = 0;                              // null when executes() is false
};

}  // namespace stepd
