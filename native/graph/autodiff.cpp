#include "graph/autodiff.h"

#include <algorithm>
#include <memory>

#include "graph/builder.h"
#include "ops/op.h"

namespace stepd {

namespace {

class Differentiator {
public:
    Differentiator(Graph& g) : graph_(g), builder_(g, DType::f32), forward_nodes_(g.nodes.size()) {
        needed_.resize(g.values.size());
        weight_like_.resize(g.values.size());
        gradients_.assign(g.values.size(), kNone);
        for (size_t i = 0; i < g.values.size(); ++i) {
            needed_[i] = g.values[i].role == Role::parameter && g.values[i].trainable;
            weight_like_[i] = g.values[i].role == Role::parameter;
        }
        for (const Node& node : g.nodes) mark(node);
    }

    int run(ValueId loss, ValueId seed) {
        if (!needed(loss)) return 0;
        gradients_[size_t(loss)] = seed;
        for (size_t i = forward_nodes_; i-- > 0;) differentiate_node(i);
        int count = name_parameter_gradients();
        for (size_t i = forward_nodes_; i < graph_.nodes.size(); ++i) graph_.nodes[i].backward = true;
        return count;
    }

private:
    bool needed(ValueId v) const { return v != kNone && needed_[size_t(v)]; }

    // A value needs a gradient when a trainable parameter lies upstream, and is like a weight when parameters alone do.
    void mark(const Node& node) {
        bool needs = std::any_of(node.inputs.begin(), node.inputs.end(), [&](ValueId v) { return needed(v); });
        bool weight = !node.inputs.empty() && std::all_of(node.inputs.begin(), node.inputs.end(), [&](ValueId v) {
            return v == kNone || weight_like_[size_t(v)];
        });
        for (ValueId v : node.outputs) {
            if (v == kNone) continue;
            needed_[size_t(v)] = needs && graph_.value(v).dtype != DType::i32;
            weight_like_[size_t(v)] = weight;
        }
    }

    void differentiate_node(size_t index) {
        const Node node = graph_.nodes[index];  // a copy: the product appends nodes
        std::vector<ValueId> grad_outputs;
        for (ValueId v : node.outputs) grad_outputs.push_back(v == kNone ? kNone : gradients_[size_t(v)]);
        bool reached = std::any_of(grad_outputs.begin(), grad_outputs.end(), [](ValueId v) { return v != kNone; });
        auto needs = std::make_unique<bool[]>(node.inputs.size() + 1);
        bool any = false;
        for (size_t i = 0; i < node.inputs.size(); ++i) any |= needs[i] = needed(node.inputs[i]);
        if (!reached || !any) return;
        STEPD_REQUIRE(node.op->vjp, Code::unsupported, "the op ", node.op->name,
                      " cannot be differentiated, and a trainable parameter lies upstream of it");
        std::vector<ValueId> grad_inputs(node.inputs.size(), kNone);
        VjpContext context{builder_, node, grad_outputs, grad_inputs, {needs.get(), node.inputs.size()}};
        node.op->vjp(context);
        for (size_t i = 0; i < node.inputs.size(); ++i) {
            if (needs[i] && grad_inputs[i] != kNone) accumulate(node.inputs[i], grad_inputs[i]);
        }
    }

    // Adds one contribution to the gradient of v. Gradients of activations have the type of the activation; those of
    // weights, and of what is computed from weights alone, are f32.
    void accumulate(ValueId v, ValueId gradient) {
        ValueId& sum = gradients_[size_t(v)];
        const Value& value = graph_.value(v);
        STEPD_CHECK(graph_.value(gradient).shape == value.shape, "the gradient of a value with shape ",
                    to_string(value.shape), " has shape ", to_string(graph_.value(gradient).shape));
        if (sum == kNone) {
            sum = builder_.cast(gradient, weight_like_[size_t(v)] ? DType::f32 : value.dtype);
        } else {
            sum = builder_.add(sum, gradient);
        }
    }

    int name_parameter_gradients() {
        int count = 0;
        size_t values = gradients_.size();
        for (size_t i = 0; i < values; ++i) {
            if (graph_.values[i].role != Role::parameter || gradients_[i] == kNone) continue;
            builder_.output(gradient_name(graph_.values[i].name), gradients_[i]);
            ++count;
        }
        return count;
    }

    Graph& graph_;
    Builder builder_;
    size_t forward_nodes_;
    std::vector<bool> needed_;        // per forward value
    std::vector<bool> weight_like_;   // per forward value
    std::vector<ValueId> gradients_;  // per forward value, kNone while there is none
};

}  // namespace

int differentiate(Graph& g, ValueId loss, ValueId seed) {
    STEPD_CHECK(g.value(loss).shape == Shape{1} && g.value(seed).shape == Shape{1},
                "loss and seed must have shape [1]");
    return Differentiator(g).run(loss, seed);
}

}  // namespace stepd
