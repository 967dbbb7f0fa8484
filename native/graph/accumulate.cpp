#include "graph/accumulate.h"

#include <utility>

#include "graph/autodiff.h"
#include "ops/op.h"

namespace stepd {

namespace {

// Appends earlier + contribution, which takes over the gradient's name and role.
Node sum_node(Graph& g, ValueId gradient) {
    Value earlier = g.value(gradient), sum = g.value(gradient);
    earlier.role = Role::input;
    earlier.name = earlier_name(sum.name);
    g.value(gradient).role = Role::temporary;
    g.value(gradient).name.clear();
    Node node;
    node.op = find_op("add");
    node.inputs = {g.add_value(std::move(earlier)), gradient};
    node.outputs = {g.add_value(std::move(sum))};
    node.backward = true;
    return node;
}

bool is_gradient(const Value& v) { return v.role == Role::output && v.name.starts_with(gradient_name("")); }

}  // namespace

// Each sum comes right after its contribution: at the end of the graph, all contributions would live at once.
int accumulate_gradients(Graph& g) {
    int count = 0;
    std::vector<Node> nodes = std::exchange(g.nodes, {});
    for (Node& node : nodes) {
        g.nodes.push_back(std::move(node));
        const std::vector<ValueId> outputs = g.nodes.back().outputs;
        for (ValueId v : outputs) {
            if (v == kNone || !is_gradient(g.value(v))) continue;
            g.nodes.push_back(sum_node(g, v));
            count++;
        }
    }
    g.renumber();
    return count;
}

}  // namespace stepd
