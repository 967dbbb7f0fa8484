#include "graph/recompute.h"

#include <algorithm>

#include "graph/storage.h"
#include "ops/op.h"

namespace stepd {

namespace {
// What one byte of memory traffic is worth in FLOP, so that elementwise nodes have a price too.
constexpr double kFlopPerByte = 16;
}  // namespace

Recompute::Recompute(const Graph& g)
    : graph_(g),
      storage_(share_aliases(g)),
      groups_(g.values.size()),
      maker_(g.values.size(), -1),
      spans_(g.values.size()),
      visited_(g.values.size()) {
    for (size_t i = 0; i < g.nodes.size(); ++i) {
        add_recipe(g.nodes[i]);
        add_groups(int(i));
    }
    for (size_t i = 0; i < g.nodes.size(); ++i) add_last_step(int(i));
}

void Recompute::add_recipe(const Node& node) {
    Cost cost = cost_of(graph_, node);
    cost_.push_back(cost.flop + kFlopPerByte * cost.bytes);
    std::vector<ValueId>& reads = reads_.emplace_back();
    for (ValueId v : node.inputs) {
        if (v != kNone) reads.push_back(storage_[size_t(v)]);
    }
    std::vector<ValueId>& writes = writes_.emplace_back();
    for (ValueId v : node.outputs) {
        if (v != kNone && !node.op->alias) writes.push_back(storage_[size_t(v)]);
    }
}

// Enters what the node makes and reads into the groups.
void Recompute::add_groups(int index) {
    const Node& node = graph_.nodes[size_t(index)];
    for (ValueId v : node.outputs) {
        if (v == kNone) continue;
        maker_[size_t(v)] = index;
        const Value& value = graph_.value(v);
        if (storage_[size_t(v)] != v || value.role != Role::temporary) continue;
        Group& group = groups_[size_t(v)];
        group.bytes = int64_t(bytes_of(value));
        group.recipe = index;
        group.external = false;
        group.forward = !node.backward;
        group.first = group.last = index;
    }
    for (ValueId read : reads_[size_t(index)]) {
        Group& group = groups_[size_t(read)];
        if (group.forward && node.backward) {
            group.kept = true;
        } else {
            group.last = index;
        }
    }
}

// A kept output 1 of the node is a cheaper source of its output 0 than the node itself.
void Recompute::add_last_step(int index) {
    const Node& node = graph_.nodes[size_t(index)];
    if (!node.op->last_step || node.outputs[1] == kNone) return;
    ValueId result = node.outputs[0], source = node.outputs[1];
    if (storage_[size_t(result)] != result || !groups_[size_t(result)].kept) return;
    if (lost(storage_[size_t(source)])) return;
    Node step;
    step.op = find_op(node.op->last_step);
    step.inputs = {source};
    step.outputs = {result};
    int recipe = int(reads_.size());
    add_recipe(step);
    extra_recipes_.push_back(std::move(step));
    maker_[size_t(result)] = groups_[size_t(result)].recipe = recipe;
}

// Marks that `node` of the backward part reads the group, which is made again there when it is neither kept nor made
// yet.
void Recompute::use(ValueId index, int node) {
    const Group& group = groups_[size_t(index)];
    Span& span = spans_[size_t(index)];
    bool make = lost(index) && span.first < 0;
    if (span.first < 0) span.first = node;
    span.last = node;
    if (!make) return;
    repeated_[size_t(group.recipe)] = true;
    for (ValueId other : writes_[size_t(group.recipe)]) {
        Span& byproduct = spans_[size_t(other)];
        if (lost(other) && byproduct.first < 0) byproduct = {node, node};
    }
    for (ValueId input : reads_[size_t(group.recipe)]) use(input, node);
}

void Recompute::simulate() {
    size_t nodes = graph_.nodes.size();
    spans_.assign(spans_.size(), {});
    repeated_.assign(cost_.size(), false);
    for (size_t i = 0; i < nodes; ++i) {
        if (!graph_.nodes[i].backward) continue;
        for (ValueId group : reads_[i]) use(group, int(i));
    }
    measure_peak();
}

void Recompute::measure_peak() {
    size_t nodes = graph_.nodes.size();
    std::vector<int64_t> change(nodes + 1);
    auto lives = [&](int first, int last, int64_t bytes) {
        change[size_t(first)] += bytes;
        change[size_t(last) + 1] -= bytes;
    };
    for (size_t i = 0; i < groups_.size(); ++i) {
        const Group& group = groups_[i];
        if (group.external) continue;
        if (group.kept) {
            lives(group.first, std::max(group.last, spans_[i].last), group.bytes);
            continue;
        }
        lives(group.first, group.last, group.bytes);
        if (group.forward && spans_[i].first >= 0) lives(spans_[i].first, spans_[i].last, group.bytes);
    }
    live_.assign(nodes, 0);
    peak_ = 0;
    int64_t now = 0;
    for (size_t i = 0; i < nodes; ++i) {
        live_[i] = now += change[i];
        if (now > peak_) {
            peak_ = now;
            peak_node_ = int(i);
        }
    }
}

// What it takes to make a group at node `at`, beyond what is made again anyway. `pulled` grows by the bytes x nodes by
// which groups that are made again anyway would have to be made earlier.
double Recompute::rebuild_cost(ValueId index, int at, double& pulled) {
    visited_[size_t(index)] = visit_;
    const Group& group = groups_[size_t(index)];
    double cost = repeated_[size_t(group.recipe)] ? 0 : cost_[size_t(group.recipe)];
    for (ValueId input : reads_[size_t(group.recipe)]) {
        if (!lost(input) || visited_[size_t(input)] == visit_) continue;
        const Span& span = spans_[size_t(input)];
        if (span.first >= 0 && span.first <= at) continue;
        if (span.first > at) pulled += double(groups_[size_t(input)].bytes) * (span.first - at);
        cost += rebuild_cost(input, at, pulled);
    }
    return cost;
}

// The kept group that is cheapest to rebuild for the bytes x nodes that dropping it frees at the peak, kNone when none
// is.
ValueId Recompute::best_candidate() {
    ValueId best = kNone;
    double best_score = 0;
    for (size_t i = 0; i < groups_.size(); ++i) {
        const Group& group = groups_[i];
        if (!group.kept || group.settled) continue;
        const Span& span = spans_[i];
        if (group.last >= peak_node_ || span.first <= peak_node_) continue;  // would be there at the peak all the same
        double pulled = 0;
        ++visit_;
        double cost = rebuild_cost(ValueId(i), span.first, pulled);
        double gain = double(group.bytes) * (span.first - group.last) - pulled;
        if (gain <= 0 || (best != kNone && cost / gain >= best_score)) continue;
        best = ValueId(i);
        best_score = cost / gain;
    }
    return best;
}

bool Recompute::reduce_peak(int64_t target, const Cancellation* cancellation) {
    bool dropped = false;
    simulate();
    while (peak_ > target) {
        if (cancellation) cancellation->check("planning memory");
        ValueId candidate = best_candidate();
        if (candidate == kNone) break;
        Group& group = groups_[size_t(candidate)];
        int64_t peak = peak_;
        int node = peak_node_;
        group.kept = false;
        simulate();
        if (peak_ <= peak && live_[size_t(node)] < peak) {
            dropped = true;
            continue;
        }
        group.kept = true;
        group.settled = true;
        simulate();
    }
    return dropped;
}

// The value that stands for v in the backward part; emits what makes it when that is not there yet.
ValueId Recompute::rebuilt(ValueId v, Graph& out, std::vector<ValueId>& clones) const {
    if (v == kNone || !lost(storage_[size_t(v)])) return v;
    if (clones[size_t(v)] != kNone) return clones[size_t(v)];
    Node node = recipe(maker_[size_t(v)]);
    for (ValueId& input : node.inputs) input = rebuilt(input, out, clones);
    if (clones[size_t(v)] != kNone) return clones[size_t(v)];  // a by-product of what its source needed
    for (ValueId& output : node.outputs) {
        if (output == kNone) continue;
        ValueId original = output;
        Value copy = graph_.value(original);
        copy.role = Role::temporary;
        copy.name.clear();
        output = out.add_value(copy);
        clones[size_t(original)] = output;
    }
    node.backward = true;
    out.nodes.push_back(std::move(node));
    return clones[size_t(v)];
}

Graph Recompute::build() const {
    Graph out;
    out.values = graph_.values;
    std::vector<ValueId> clones(graph_.values.size(), kNone);
    for (const Node& original : graph_.nodes) {
        Node node = original;
        if (node.backward) {
            for (ValueId& v : node.inputs) v = rebuilt(v, out, clones);
        }
        out.nodes.push_back(std::move(node));
    }
    drop_unread_outputs(out);
    out.renumber();
    return out;
}

}  // namespace stepd
