#include "io/safetensors.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"

namespace stepd {
namespace {

namespace fs = std::filesystem;
using detail::printable;

static_assert(std::endian::native == std::endian::little, "safetensors data is little-endian");

constexpr uint64_t kMaxIndexBytes = 100'000'000;
const std::string kIndexSuffix = ".safetensors.index.json", kSuffix = ".safetensors";

// IEEE half to single, exact: the exponent is moved up by a multiplication, which also normalises subnormals.
float half_to_float(uint16_t h) {
    uint32_t magnitude = uint32_t(h & 0x7fff) << 13, sign = uint32_t(h & 0x8000) << 16;
    float value = std::bit_cast<float>(magnitude) * 0x1p112f;
    uint32_t special = (h & 0x7c00) == 0x7c00 ? 0x7f800000u : 0u;
    return std::bit_cast<float>(std::bit_cast<uint32_t>(value) | special | sign);
}

template <class T>
T load(const std::byte* from) {
    T value;
    std::memcpy(&value, from, sizeof value);
    return value;
}

// Calls visit(i, value) for every element, with value of the natural C++ type (f16 and bf16 become float).
template <class Visit>
void visit_elements(const SafeTensor& tensor, int64_t first, int64_t count, Visit visit) {
    const std::byte* from = tensor.bytes.data() + size_t(first) * size_of(tensor.type);
    auto each = [&](auto sample, auto convert_value) {
        using T = decltype(sample);
        for (int64_t i = 0; i < count; i++) visit(i, convert_value(load<T>(from + size_t(i) * sizeof(T))));
    };
    auto same = [](auto v) { return v; };
    switch (tensor.type) {
        case SafeType::boolean:
            return each(uint8_t(), [](uint8_t v) { return int32_t(v != 0); });
        case SafeType::u8:
            return each(uint8_t(), same);
        case SafeType::i8:
            return each(int8_t(), same);
        case SafeType::i16:
            return each(int16_t(), same);
        case SafeType::f16:
            return each(uint16_t(), half_to_float);
        case SafeType::bf16:
            return each(bf16(), [](bf16 v) { return to_float(v); });
        case SafeType::i32:
            return each(int32_t(), same);
        case SafeType::f32:
            return each(float(), same);
        case SafeType::f64:
            return each(double(), same);
        case SafeType::i64:
            return each(int64_t(), same);
    }
}

bool is_float(SafeType type) {
    return type == SafeType::f16 || type == SafeType::bf16 || type == SafeType::f32 || type == SafeType::f64;
}

bool same_type(SafeType a, DType b) { return a == safe_type_of(b); }

void convert_to_i32(const SafeTensor& tensor, int64_t first, int64_t count, int32_t* out) {
    STEPD_REQUIRE(!is_float(tensor.type), Code::invalid, "safetensors file ", *tensor.file, ": tensor ",
                  printable(tensor.name), " has dtype ", name_of(tensor.type), ", an integer type is needed");
    visit_elements(tensor, first, count, [&](int64_t i, auto value) {
        bool fits = int64_t(value) >= INT32_MIN && int64_t(value) <= INT32_MAX;
        STEPD_REQUIRE(fits, Code::numeric, "safetensors file ", *tensor.file, ": tensor ", printable(tensor.name),
                      ": element ", first + i, " is ", int64_t(value), ", outside the 32-bit range");
        out[i] = int32_t(value);
    });
}

// The file that `path` means: itself, or the best candidate of a folder.
std::string choose_file(const std::string& path) {
    if (!fs::is_directory(path)) return path;
    std::vector<std::string> stems;
    std::set<std::string> indexed;
    for (const auto& entry : fs::directory_iterator(path)) {
        std::string name = entry.path().filename().string();
        if (name.ends_with(kIndexSuffix)) indexed.insert(name.substr(0, name.size() - kIndexSuffix.size()));
        if (name.ends_with(kSuffix) && name[0] != '.') stems.push_back(name.substr(0, name.size() - kSuffix.size()));
    }
    // Shards are reached through their index.
    std::erase_if(stems, [](const std::string& stem) { return stem.find("-of-") != std::string::npos; });
    stems.insert(stems.end(), indexed.begin(), indexed.end());
    STEPD_REQUIRE(!stems.empty(), Code::not_found, "folder ", path, " has no .safetensors file");
    std::sort(stems.begin(), stems.end());
    stems.erase(std::unique(stems.begin(), stems.end()), stems.end());
    std::string stem = stems[0];
    if (stems.size() > 1) {
        auto preferred = [&](const char* name) { return std::count(stems.begin(), stems.end(), name) > 0; };
        stem = preferred("diffusion_pytorch_model") ? "diffusion_pytorch_model" : "model";
        STEPD_REQUIRE(preferred(stem.c_str()), Code::invalid, "folder ", path, " has ", stems.size(),
                      " sets of weights (", stems[0], ", ", stems[1], ", ..); name the file to use");
    }
    return (fs::path(path) / (stem + (indexed.count(stem) ? kIndexSuffix : kSuffix))).string();
}

// The weight map of an index file: tensor name to file name, which must lie in the same folder.
std::map<std::string, std::string> read_weight_map(const std::string& path) {
    MappedFile mapped(path, kMaxIndexBytes);
    const char* text = reinterpret_cast<const char*>(mapped.bytes().data());
    nlohmann::json index = nlohmann::json::parse(text, text + mapped.bytes().size(), nullptr, false);
    bool has_map = index.is_object() && index.contains("weight_map") && index["weight_map"].is_object();
    STEPD_REQUIRE(has_map, Code::invalid, "index file ", path, " is not JSON with an object \"weight_map\"");
    std::map<std::string, std::string> map;
    for (const auto& [name, shard] : index["weight_map"].items()) {
        std::string file = shard.is_string() ? shard.get<std::string>() : "";
        bool plain = file.ends_with(kSuffix) && std::none_of(file.begin(), file.end(), [](char c) {
                         return c == '/' || c == '\\' || uint8_t(c) < 0x20;
                     });
        STEPD_REQUIRE(plain, Code::invalid, "index file ", path, ": the shard of tensor ", printable(name),
                      " is not the name of a .safetensors file in the same folder");
        map[name] = file;
    }
    STEPD_REQUIRE(!map.empty(), Code::invalid, "index file ", path, ": the weight_map is empty");
    return map;
}

}  // namespace

size_t size_of(SafeType type) {
    switch (type) {
        case SafeType::boolean:
        case SafeType::u8:
        case SafeType::i8:
            return 1;
        case SafeType::i16:
        case SafeType::f16:
        case SafeType::bf16:
            return 2;
        case SafeType::i32:
        case SafeType::f32:
            return 4;
        case SafeType::f64:
        case SafeType::i64:
            return 8;
    }
    STEPD_THROW(Code::internal, "unknown element type ", int(type));
}

const char* name_of(SafeType type) {
    static constexpr const char* names[] = {"BOOL", "U8", "I8", "I16", "F16", "BF16", "I32", "F32", "F64", "I64"};
    return names[size_t(type)];
}

SafeType safe_type_of(DType type) {
    return type == DType::f32 ? SafeType::f32 : type == DType::bf16 ? SafeType::bf16 : SafeType::i32;
}

void convert(const SafeTensor& tensor, int64_t first, int64_t count, void* out, DType type) {
    STEPD_CHECK(first >= 0 && count >= 0 && first <= tensor.elements() - count, "elements ", first, " + ", count,
                " of ", tensor.elements());
    if (count == 0) return;
    if (same_type(tensor.type, type)) {
        std::memcpy(out, tensor.bytes.data() + size_t(first) * size_of(type), size_t(count) * size_of(type));
    } else if (type == DType::i32) {
        convert_to_i32(tensor, first, count, static_cast<int32_t*>(out));
    } else if (type == DType::f32) {
        visit_elements(tensor, first, count, [&](int64_t i, auto v) { static_cast<float*>(out)[i] = float(v); });
    } else {
        visit_elements(tensor, first, count,
                       [&](int64_t i, auto v) { static_cast<bf16*>(out)[i] = to_bf16(float(v)); });
    }
}

void convert(const SafeTensor& tensor, const Tensor& out) {
    STEPD_REQUIRE(tensor.shape == out.shape, Code::invalid, "safetensors file ", *tensor.file, ": tensor ",
                  printable(tensor.name), " has shape ", to_string(tensor.shape), ", expected ", to_string(out.shape));
    convert(tensor, 0, tensor.elements(), out.data, out.dtype);
}

SafetensorsReader::SafetensorsReader(const std::string& path) : path_(path) {
    std::string file = choose_file(path);
    file.ends_with(kIndexSuffix) ? add_shards(file) : add_file(file);
}

void SafetensorsReader::add_file(const std::string& path) {
    files_.push_back(std::make_unique<MappedFile>(path));
    SafeMetadata metadata;
    std::vector<SafeTensor> found = detail::parse_safetensors(files_.back()->path(), files_.back()->bytes(), metadata);
    if (files_.size() == 1) metadata_ = std::move(metadata);
    for (SafeTensor& tensor : found) {
        auto [place, added] = index_.emplace(tensor.name, tensors_.size());
        STEPD_REQUIRE(added, Code::invalid, "safetensors file ", path, ": tensor ", printable(tensor.name),
                      " is also in ", *tensors_[place->second].file);
        tensors_.push_back(std::move(tensor));
    }
}

void SafetensorsReader::add_shards(const std::string& index_path) {
    std::map<std::string, std::string> map = read_weight_map(index_path);
    std::set<std::string> shards;
    for (const auto& [name, shard] : map) shards.insert(shard);
    for (const std::string& shard : shards) add_file((fs::path(index_path).parent_path() / shard).string());
    for (const SafeTensor& tensor : tensors_) {
        auto listed = map.find(tensor.name);
        std::string shard = fs::path(*tensor.file).filename().string();
        STEPD_REQUIRE(listed != map.end() && listed->second == shard, Code::invalid, "index file ", index_path,
                      " does not list tensor ", printable(tensor.name), " in ", shard,
                      ", where it is; the folder mixes two sets of weights");
    }
    for (const auto& [name, shard] : map) {
        STEPD_REQUIRE(find(name), Code::invalid, "index file ", index_path, ": tensor ", printable(name), " is not in ",
                      shard);
    }
}

const SafeTensor* SafetensorsReader::find(const std::string& name) const {
    auto place = index_.find(name);
    return place == index_.end() ? nullptr : &tensors_[place->second];
}

const SafeTensor& SafetensorsReader::at(const std::string& name) const {
    const SafeTensor* tensor = find(name);
    STEPD_REQUIRE(tensor, Code::not_found, path_, " has no tensor ", printable(name));
    return *tensor;
}

}  // namespace stepd
