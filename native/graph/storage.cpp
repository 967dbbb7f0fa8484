#include "graph/storage.h"

#include <algorithm>

#include "ops/op.h"

namespace stepd {

namespace {

// Disjoint sets of values that share memory; the root names the memory.
class Sharing {
public:
    explicit Sharing(const Graph& g) : graph_(g), parent_(g.values.size()) {
        for (size_t i = 0; i < parent_.size(); ++i) parent_[i] = ValueId(i);
    }

    ValueId root(ValueId v) {
        while (parent_[size_t(v)] != v) v = parent_[size_t(v)] = parent_[size_t(parent_[size_t(v)])];
        return v;
    }
    bool in_arena(ValueId v) { return graph_.value(root(v)).role == Role::temporary; }
    void join(ValueId child, ValueId into) { parent_[size_t(root(child))] = root(into); }

    std::vector<ValueId> roots() {
        std::vector<ValueId> all(parent_.size());
        for (size_t i = 0; i < all.size(); ++i) all[i] = root(ValueId(i));
        return all;
    }

private:
    const Graph& graph_;
    std::vector<ValueId> parent_;
};

bool same_layout(const Value& a, const Value& b) {
    return numel(a.shape) == numel(b.shape) && size_of(a.dtype) == size_of(b.dtype);
}

bool can_take_over(const Graph& g, const Node& node, size_t input) {
    ValueId x = node.inputs[input];
    return (node.op->in_place >> input & 1) && x != kNone && same_layout(g.value(x), g.value(node.outputs[0]));
}

Sharing alias_sharing(const Graph& g) {
    Sharing sharing(g);
    for (const Node& node : g.nodes) {
        if (!node.op->alias) continue;
        ValueId x = node.inputs[0], y = node.outputs[0];
        if (sharing.in_arena(y)) {
            sharing.join(y, x);
        } else if (sharing.in_arena(x)) {
            sharing.join(x, y);
        }  // else both have memory of their own, and the node copies
    }
    return sharing;
}

// Whether the node reads the memory of x also through an argument that must not change while it runs.
bool read_otherwise(const Graph& g, const Node& node, Sharing& sharing, ValueId x) {
    for (size_t i = 0; i < node.inputs.size(); ++i) {
        if (node.inputs[i] == kNone || sharing.root(node.inputs[i]) != sharing.root(x)) continue;
        if (!can_take_over(g, node, i)) return true;
    }
    return false;
}

}  // namespace

std::vector<ValueId> share_aliases(const Graph& g) { return alias_sharing(g).roots(); }

std::vector<ValueId> share_memory(const Graph& g) {
    Sharing sharing = alias_sharing(g);
    std::vector<int> last_read(g.values.size(), -1);
    for (size_t i = 0; i < g.nodes.size(); ++i) {
        for (ValueId v : g.nodes[i].inputs) {
            if (v != kNone) last_read[size_t(sharing.root(v))] = int(i);
        }
    }
    for (size_t i = 0; i < g.nodes.size(); ++i) {
        const Node& node = g.nodes[i];
        ValueId y = node.outputs[0];
        for (size_t k = 0; k < node.inputs.size(); ++k) {
            ValueId x = node.inputs[k];
            if (!can_take_over(g, node, k)) continue;
            if (!sharing.in_arena(x) || !sharing.in_arena(y) || last_read[size_t(sharing.root(x))] != int(i)) continue;
            if (read_otherwise(g, node, sharing, x)) continue;
            int last = last_read[size_t(sharing.root(y))];
            sharing.join(y, x);
            last_read[size_t(sharing.root(x))] = std::max(last, int(i));
            break;
        }
    }
    return sharing.roots();
}

std::vector<Block> lifetimes(const Graph& g, const std::vector<ValueId>& storage) {
    std::vector<Block> all(g.values.size());
    auto use = [&](ValueId v, int node) {
        if (v == kNone || g.value(storage[size_t(v)]).role != Role::temporary) return;
        Block& block = all[size_t(storage[size_t(v)])];
        if (block.storage == kNone) {
            block.storage = storage[size_t(v)];
            block.first = node;
        }
        block.bytes = std::max(block.bytes, int64_t(bytes_of(g.value(v))));
        block.last = node;
    };
    for (size_t i = 0; i < g.nodes.size(); ++i) {
        for (ValueId v : g.nodes[i].inputs) use(v, int(i));
        for (ValueId v : g.nodes[i].outputs) use(v, int(i));
    }
    std::erase_if(all, [](const Block& b) { return b.storage == kNone; });
    return all;
}

int64_t place(std::vector<Block>& blocks) {
    constexpr int64_t kLine = 64, kPage = 4096;
    auto aligned = [](const Block& b) {
        int64_t unit = b.bytes >= 16 * kPage ? kPage : kLine;
        return (b.bytes + unit - 1) / unit * unit;
    };
    std::vector<size_t> order(blocks.size());
    for (size_t i = 0; i < order.size(); ++i) order[i] = i;
    // Page-aligned blocks come first and have sizes in pages, so everything that follows them stays aligned as well.
    std::stable_sort(order.begin(), order.end(),
                     [&](size_t a, size_t b) { return aligned(blocks[a]) > aligned(blocks[b]); });
    std::vector<const Block*> placed;  // by offset
    int64_t arena = 0;
    for (size_t index : order) {
        Block& block = blocks[index];
        int64_t need = aligned(block), end = 0, best = -1, best_gap = INT64_MAX;
        for (const Block* other : placed) {
            if (other->last < block.first || other->first > block.last) continue;
            int64_t gap = other->offset - end;
            if (gap >= need && gap < best_gap) {
                best = end;
                best_gap = gap;
            }
            end = std::max(end, other->offset + aligned(*other));
        }
        block.offset = best >= 0 ? best : end;
        arena = std::max(arena, block.offset + need);
        placed.insert(std::upper_bound(placed.begin(), placed.end(), &block,
                                       [](const Block* a, const Block* b) { return a->offset < b->offset; }),
                      &block);
    }
    return arena;
}

}  // namespace stepd
