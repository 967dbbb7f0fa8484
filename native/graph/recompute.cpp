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
      spans_(g.values.size()),
      visited_(g.values.size()) {
    reads_.resize(g.nodes.size());
    writes_.resize(g.nodes.size());
    for (size_t i = 0; i < g.nodes.size(); ++i) {
        const Node& node = g.nodes[i];
        Cost cost = cost_of(g, node);
        cost_.push_back(cost.flop + kFlopPerByte * cost.bytes);
        for (ValueId v : node.outputs) {
            if (v == kNone) continue;
            ValueId root = storage_[size_t(v)];
            Group& group = groups_[size_t(root)];
            if (v == root && g.value(v).role == Role::temporary) {
                group = {int64_t(bytes_of(g.value(v))), int(i), false, !node.backward, false, false, int(i), int(i)};
            }
            if (!node.op->alias) writes_[i].push_back(root);
        }
        for (ValueId v : node.inputs) {
            if (v == kNone) continue;
            ValueId root = storage_[size_t(v)];
            reads_[i].push_back(root);
            Group& group = groups_[size_t(root)];
            if (group.forward && node.backward) {
                group.kept = true;
            } else {
                group.last = int(i);
            }
        }
    }
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
    cloned_[size_t(group.producer)] = true;
    for (ValueId other : writes_[size_t(group.producer)]) {
        Span& byproduct = spans_[size_t(other)];
        if (lost(other) && byproduct.first < 0) byproduct = {node, node};
    }
    for (ValueId input : reads_[size_t(group.producer)]) use(input, node);
}

void Recompute::simulate() {
    size_t nodes = graph_.nodes.size();
    spans_.assign(spans_.size(), {});
    cloned_.assign(nodes, false);
    for (size_t i = 0; i < nodes; ++i) {
        if (!graph_.nodes[i].backward) continue;
        for (ValueId group : reads_[i]) use(group, int(i));
    }
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
    visited_[size_t(index)] = stamp_;
    const Group& group = groups_[size_t(index)];
    double cost = cloned_[size_t(group.producer)] ? 0 : cost_[size_t(group.producer)];
    for (ValueId input : reads_[size_t(group.producer)]) {
        if (!lost(input) || visited_[size_t(input)] == stamp_) continue;
        const Span& span = spans_[size_t(input)];
        if (span.first >= 0 && span.first <= at) continue;
        if (span.first > at) pulled += double(groups_[size_t(input)].bytes) * (span.first - at);
        cost += rebuild_cost(input, at, pulled);
    }
    return cost;
}

Recompute::Candidate Recompute::best_candidate() {
    Candidate best;
    for (size_t i = 0; i < groups_.size(); ++i) {
        const Group& group = groups_[i];
        if (!group.kept || group.settled) continue;
        const Span& span = spans_[i];
        if (group.last >= peak_node_ || span.first <= peak_node_) continue;  // would not be away at the peak
        double pulled = 0;
        ++stamp_;
        double cost = rebuild_cost(ValueId(i), span.first, pulled);
        double gain = double(group.bytes) * (span.first - group.last) - pulled;
        if (gain <= 0) continue;
        double score = cost / gain;
        if (best.group == kNone || score < best.score) best = {ValueId(i), score};
    }
    return best;
}

bool Recompute::reduce_peak(int64_t target) {
    bool dropped = false;
    simulate();
    while (peak_ > target) {
        Candidate candidate = best_candidate();
        if (candidate.group == kNone) break;
        Group& group = groups_[size_t(candidate.group)];
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

ValueId Recompute::rebuilt(ValueId v, Graph& out, std::vector<ValueId>& clones) const {
    if (v == kNone || !lost(storage_[size_t(v)])) return v;
    if (clones[size_t(v)] != kNone) return clones[size_t(v)];
    Node node = graph_.nodes[size_t(graph_.value(v).producer)];
    for (ValueId& input : node.inputs) input = rebuilt(input, out, clones);
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
