// What the core knows about an operation: shape rule, vector-Jacobian product and cost. Kernels live in backend/.
// An op is one file here, one file per backend, and one line in ops.inc.
#pragma once

#include <span>
#include <string>

#include "graph/graph.h"

namespace stepd {

class Builder;

struct Cost {
    double flop = 0;   // one multiply or one add is 1
    double bytes = 0;  // least traffic: every input read once, every output written once
};

struct VjpContext {
    Builder& builder;
    const Node& node;                       // the forward node
    std::span<const ValueId> grad_outputs;  // one per output, kNone where no gradient flows
    // Gradient for each input, to be filled; kNone = none. Only called when some input needs a gradient.
    std::span<ValueId> grad_inputs;
    bool needs(int input) const { return needs_[size_t(input)]; }
    std::span<const bool> needs_;
};

struct Op {
    const char* name;
    // Returns the output values (shape and dtype set). Throws Code::invalid on wrong arguments.
    std::vector<Value> (*infer)(const Graph& g, const Node& node);
    // Null for ops that are never differentiated (encoders); autodiff then reports the op by name.
    void (*vjp)(VjpContext& c) = nullptr;
    Cost (*cost)(const Graph& g, const Node& node) = nullptr;  // null: no arithmetic, minimal traffic
    bool alias = false;                                        // output 0 shares the memory of input 0 (reshape)
    // Inputs (bit i for input i) whose memory output 0 may take over when nothing reads them later. The kernels of such
    // an op write an element of output 0 only after they have read the same element of those inputs.
    uint32_t in_place = 0;
    // Output that is dropped (kNone in the node, null for the kernel) when nothing reads it; -1: all are always made.
    int optional_output = -1;
    // Elementwise op that makes output 0 out of output 1, bit for bit; null when there is none. Rebuilding output 0
    // from a kept output 1 is then cheap.
    const char* last_step = nullptr;
};

const Op* find_op(const std::string& name);  // null when unknown
std::span<const Op* const> all_ops();

// Arithmetic and least traffic of a node; an alias costs nothing.
Cost cost_of(const Graph& g, const Node& node);

// For Op::cost. elementwise_cost: 1 FLOP an element of output 0, and least traffic.
Cost elementwise_cost(const Graph& g, const Node& node);
Cost traffic(const Graph& g, const Node& node);

}  // namespace stepd
