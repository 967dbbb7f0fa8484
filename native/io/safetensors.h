// Safetensors files: a strict reader for single files and sharded folders, and a writer that streams.
// Format: 8-byte little-endian header length, JSON header, tensor data without holes.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/tensor.h"
#include "io/file.h"

namespace stepd {

// Element types that can be read, in the order in which the reference writer ranks them: a file holds the largest
// first.
enum class SafeType : uint8_t { boolean, u8, i8, i16, f16, bf16, i32, f32, f64, i64 };

size_t size_of(SafeType type);
const char* name_of(SafeType type);  // as in a header: "BOOL", "U8", .., "F32"
SafeType safe_type_of(DType type);

// A tensor inside an open file. `bytes` is row-major, little-endian and may be unaligned.
struct SafeTensor {
    std::string name;
    SafeType type = SafeType::f32;
    Shape shape;
    std::span<const std::byte> bytes;
    const std::string* file = nullptr;  // path of the file, for messages; lives as long as the reader

    int64_t elements() const { return numel(shape); }
};

// Converts elements [first, first + count) into `out`. To f32 or bf16 from every type (bf16 rounds to nearest even);
// to i32 from integer types only, where a value out of range is an error (numeric).
void convert(const SafeTensor& tensor, int64_t first, int64_t count, void* out, DType type);
// The whole tensor into out.data; the shapes must be equal.
void convert(const SafeTensor& tensor, const Tensor& out);

using SafeMetadata = std::map<std::string, std::string>;

// The tensors of one file, or of all shards of a folder. Whatever is wrong with a file is an error that names the file
// and, where there is one, the tensor: code not_found for what is missing, invalid for what is malformed.
class SafetensorsReader {
public:
    // `path` is a .safetensors file, a .safetensors.index.json file, or a folder. In a folder with several candidates
    // the stems "diffusion_pytorch_model" and "model" come first, and an index before a single file.
    explicit SafetensorsReader(const std::string& path);

    const std::vector<SafeTensor>& tensors() const { return tensors_; }  // in file order
    const SafeTensor* find(const std::string& name) const;               // null when absent
    const SafeTensor& at(const std::string& name) const;                 // not_found when absent
    const SafeMetadata& metadata() const { return metadata_; }           // of the first file

private:
    void add_file(const std::string& path);
    void add_shards(const std::string& index_path);

    std::string path_;
    std::vector<std::unique_ptr<MappedFile>> files_;
    std::vector<SafeTensor> tensors_;
    std::unordered_map<std::string, size_t> index_;
    SafeMetadata metadata_;
};

namespace detail {
// Parses and validates `bytes` as a safetensors file. Spans point into `bytes`, `file` into `path`.
std::vector<SafeTensor> parse_safetensors(const std::string& path, std::span<const std::byte> bytes,
                                          SafeMetadata& metadata);
// A name from a file as messages show it: in quotes, control characters replaced, cut when very long.
std::string printable(std::string_view text);
}  // namespace detail

// Hands one more piece of a tensor's bytes to the file being written.
using EmitBytes = std::function<void(std::span<const std::byte>)>;

// A tensor to be written. `produce` is called once, when the tensor's turn comes, and emits exactly its bytes in pieces
// of any size, so a model never needs a second copy in memory.
struct SafeTensorSource {
    std::string name;
    SafeType type = SafeType::f32;
    Shape shape;
    std::function<void(const EmitBytes& emit)> produce;

    uint64_t bytes() const { return uint64_t(numel(shape)) * size_of(type); }
};

// A source that reads `tensor` when written. f32 and bf16 convert into each other; i32 is written as it is.
SafeTensorSource source_of(std::string name, const Tensor& tensor, SafeType type);

// Writes one file, byte for byte as the reference (Rust) writer does for the same tensors, with metadata keys in order.
// The file is complete and flushed to disk under its name, or not there.
void write_safetensors(const std::string& path, const std::vector<SafeTensorSource>& tensors,
                       const SafeMetadata& metadata = {{"format", "pt"}});

// Writes FOLDER/STEM.safetensors, or, when the tensors exceed max_shard_bytes, STEM-00001-of-0000N.safetensors and
// STEM.safetensors.index.json as diffusers does. Tensors fill shards in the order given. The index is written last.
// Returns the names of the files in the order written.
std::vector<std::string> write_sharded_safetensors(const std::string& folder, const std::string& stem,
                                                   const std::vector<SafeTensorSource>& tensors,
                                                   uint64_t max_shard_bytes,
                                                   const SafeMetadata& metadata = {{"format", "pt"}});

}  // namespace stepd
