#include "graph/graph.h"

#include "ops/op.h"

namespace stepd {

ValueId Graph::find(const std::string& name) const {
    if (name.empty()) return kNone;
    for (size_t i = 0; i < values.size(); ++i) {
        if (values[i].name == name) return ValueId(i);
    }
    return kNone;
}

ValueId Graph::add_value(Value v) {
    for (int64_t d : v.shape) {
        STEPD_REQUIRE(d > 0, Code::invalid, v.name.empty() ? "a value" : v.name, " has the empty shape ",
                      to_string(v.shape));
    }
    if (v.role != Role::temporary) {
        STEPD_CHECK(!v.name.empty(), "parameters, inputs and outputs need a name");
        STEPD_CHECK(find(v.name) == kNone, "the name ", v.name, " is taken");
    }
    values.push_back(std::move(v));
    return ValueId(values.size() - 1);
}

const Node& Graph::add_node(const std::string& op, std::vector<ValueId> inputs, Attrs attrs) {
    Node node;
    node.op = find_op(op);
    STEPD_CHECK(node.op, "there is no op ", op);
    for (ValueId v : inputs) {
        STEPD_CHECK(v >= kNone && v < ValueId(values.size()), op, " reads value ", v, " that does not exist");
    }
    node.inputs = std::move(inputs);
    node.attrs = std::move(attrs);
    for (Value& v : node.op->infer(*this, node)) {
        v.producer = int32_t(nodes.size());
        node.outputs.push_back(add_value(std::move(v)));
    }
    nodes.push_back(std::move(node));
    return nodes.back();
}

void Graph::renumber() {
    for (Value& v : values) v.producer = -1;
    for (size_t i = 0; i < nodes.size(); ++i) {
        for (ValueId v : nodes[i].outputs) {
            if (v != kNone) value(v).producer = int32_t(i);
        }
    }
}

int drop_unread_outputs(Graph& g) {
    std::vector<bool> read(g.values.size());
    for (const Node& node : g.nodes) {
        for (ValueId v : node.inputs) {
            if (v != kNone) read[size_t(v)] = true;
        }
    }
    int dropped = 0;
    for (Node& node : g.nodes) {
        if (node.op->optional_output < 0) continue;
        ValueId& v = node.outputs[size_t(node.op->optional_output)];
        if (v == kNone || read[size_t(v)] || g.value(v).role == Role::output) continue;
        v = kNone;
        ++dropped;
    }
    return dropped;
}

}  // namespace stepd
