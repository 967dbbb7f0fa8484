// The recorded computation: values and the nodes that make them, in program order. Shapes are static.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/tensor.h"

namespace stepd {

struct Op;

using ValueId = int32_t;
constexpr ValueId kNone = -1;  // an absent optional input

enum class Role : uint8_t {
    parameter,  // weights; trained when Value::trainable
    input,      // set before each replay
    output,     // kept after a replay, readable by name
    temporary,  // lives in the arena between its first and its last use
};

struct Value {
    Shape shape;
    DType dtype = DType::f32;
    Role role = Role::temporary;
    bool trainable = false;  // parameters only
    std::string name;        // parameters, inputs, outputs: unique; temporaries: empty
    int32_t producer = -1;   // index of the producing node, -1 for parameters and inputs
};

// Numeric attributes of a node; integers are exact up to 2^53.
using Attrs = std::map<std::string, double>;

struct Node {
    const Op* op = nullptr;
    std::vector<ValueId> inputs;   // kNone for an absent optional input
    std::vector<ValueId> outputs;  // kNone for an optional output that nothing reads
    Attrs attrs;
    bool backward = false;  // appended by differentiate(): such nodes may read recomputed values

    double attr(const std::string& key) const {
        auto it = attrs.find(key);
        STEPD_CHECK(it != attrs.end(), "attribute ", key, " is missing");
        return it->second;
    }
    double attr(const std::string& key, double fallback) const {
        auto it = attrs.find(key);
        return it == attrs.end() ? fallback : it->second;
    }
};

struct Graph {
    std::vector<Value> values;
    std::vector<Node> nodes;  // program order is the schedule

    const Value& value(ValueId v) const { return values.at(size_t(v)); }
    Value& value(ValueId v) { return values.at(size_t(v)); }
    ValueId find(const std::string& name) const;  // by name, kNone when there is none
    ValueId add_value(Value v);
    // Appends a node, infers its output values and checks the arguments. Throws Code::invalid naming op and shapes.
    const Node& add_node(const std::string& op, std::vector<ValueId> inputs, Attrs attrs = {});
    // Sets Value::producer of every value after nodes have been moved, inserted or removed.
    void renumber();
};

// Sets optional outputs (Op::optional_output) that nothing reads to kNone. Returns how many.
int drop_unread_outputs(Graph& g);

std::string print(const Graph& g);     // one line a node
std::string graphviz(const Graph& g);  // dot source

}  // namespace stepd
