// Which values share memory, how long each piece of memory is used, and where it lies in the arena.
#pragma once

#include <cstdint>
#include <vector>

#include "graph/graph.h"

namespace stepd {

// Per value: the value whose memory it uses. Aliases (reshape) share the memory of their input; a group of aliases that
// contains an output lives in the memory of that output.
std::vector<ValueId> share_aliases(const Graph& g);

// As share_aliases, and results take over the memory of an input that is read last where Op::in_place allows it.
std::vector<ValueId> share_memory(const Graph& g);

inline size_t bytes_of(const Value& v) { return size_t(numel(v.shape)) * size_of(v.dtype); }

// A piece of memory between the first node that writes it and the last one that reads or writes it.
struct Block {
    ValueId storage = kNone;
    int64_t bytes = 0;
    int first = 0, last = 0;
    int64_t offset = -1;
};

// Blocks of all temporaries, in order of storage id.
std::vector<Block> lifetimes(const Graph& g, const std::vector<ValueId>& storage);

// Sets the offsets so that blocks which live at the same time do not overlap (largest first, each into the tightest gap
// that fits) and returns the size of the arena.
int64_t place(std::vector<Block>& blocks);

}  // namespace stepd
