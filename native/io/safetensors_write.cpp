#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"
#include "io/safetensors.h"

namespace stepd {
namespace {

using detail::printable;

constexpr size_t kAlignment = 8;
constexpr int64_t kChunk = int64_t(1) << 18;  // elements converted at a time

using Sources = std::vector<const SafeTensorSource*>;

std::string to_json(const std::string& text) {
    try {
        return nlohmann::json(text).dump();
    } catch (const nlohmann::json::exception&) {
        STEPD_THROW(Code::invalid, "a tensor name or metadata text is not UTF-8: ", printable(text));
    }
}

// The JSON header padded with spaces. Tensors must be in file order.
std::string make_header(const Sources& tensors, const SafeMetadata& metadata) {
    std::string header = "{";
    if (!metadata.empty()) {
        header += "\"__metadata__\":{";
        for (const auto& [key, value] : metadata) {
            if (header.back() != '{') header += ',';
            header += to_json(key) + ":" + to_json(value);
        }
        header += '}';
    }
    uint64_t offset = 0;
    for (const SafeTensorSource* tensor : tensors) {
        if (header.size() > 1) header += ',';
        uint64_t end = offset + tensor->bytes();
        header += detail::concat(to_json(tensor->name), ":{\"dtype\":\"", name_of(tensor->type), "\",\"shape\":[");
        for (size_t i = 0; i < tensor->shape.size(); i++) header += detail::concat(i ? "," : "", tensor->shape[i]);
        header += detail::concat("],\"data_offsets\":[", offset, ",", end, "]}");
        offset = end;
    }
    header += '}';
    header.resize((header.size() + kAlignment - 1) / kAlignment * kAlignment, ' ');
    return header;
}

void check_names(const std::string& place, const std::vector<SafeTensorSource>& tensors) {
    std::set<std::string> names;
    for (const SafeTensorSource& tensor : tensors) {
        STEPD_REQUIRE(tensor.name != "__metadata__" && names.insert(tensor.name).second, Code::invalid, "cannot write ",
                      place, ": the tensor name ", printable(tensor.name), " is reserved or used twice");
    }
}

void write_file(const std::string& path, Sources tensors, const SafeMetadata& metadata) {
    // The larger type first keeps every tensor aligned.
    std::sort(tensors.begin(), tensors.end(), [](const SafeTensorSource* a, const SafeTensorSource* b) {
        return a->type != b->type ? a->type > b->type : a->name < b->name;
    });
    std::string header = make_header(tensors, metadata);
    uint64_t total = kAlignment + header.size();
    for (const SafeTensorSource* tensor : tensors) total += tensor->bytes();

    AtomicFile file(path, total);
    uint64_t length = header.size();
    file.write(std::as_bytes(std::span(&length, 1)));
    file.write(header);
    for (const SafeTensorSource* tensor : tensors) {
        uint64_t before = file.written();
        tensor->produce([&](std::span<const std::byte> bytes) { file.write(bytes); });
        STEPD_CHECK(file.written() - before == tensor->bytes(), "tensor ", printable(tensor->name), " of ", path,
                    " produced ", file.written() - before, " bytes instead of ", tensor->bytes());
    }
    file.commit();
}

Sources pointers_to(const std::vector<SafeTensorSource>& tensors) {
    Sources all;
    for (const SafeTensorSource& tensor : tensors) all.push_back(&tensor);
    return all;
}

// diffusers' rule: fill a shard until the next tensor would not fit; a tensor over the limit gets a shard of its own.
std::vector<Sources> split_into_shards(const std::vector<SafeTensorSource>& tensors, uint64_t max_bytes) {
    std::vector<Sources> shards;
    Sources current;
    uint64_t size = 0;
    for (const SafeTensorSource& tensor : tensors) {
        if (tensor.bytes() > max_bytes) {
            shards.push_back({&tensor});
            continue;
        }
        if (size + tensor.bytes() > max_bytes) {
            shards.push_back(std::exchange(current, {}));
            size = 0;
        }
        current.push_back(&tensor);
        size += tensor.bytes();
    }
    if (!current.empty()) shards.push_back(current);
    return shards;
}

template <class From, class To, class Convert>
void emit_converted(const From* from, int64_t count, const EmitBytes& emit, Convert convert_value) {
    std::vector<To> chunk(size_t(std::min(count, kChunk)));
    for (int64_t begin = 0; begin < count; begin += kChunk) {
        int64_t length = std::min(kChunk, count - begin);
        std::transform(from + begin, from + begin + length, chunk.begin(), convert_value);
        emit(std::as_bytes(std::span(chunk.data(), size_t(length))));
    }
}

}  // namespace

SafeTensorSource source_of(std::string name, const Tensor& tensor, SafeType type) {
    bool same = type == safe_type_of(tensor.dtype);
    bool floats = tensor.dtype != DType::i32 && (type == SafeType::f32 || type == SafeType::bf16);
    STEPD_REQUIRE(same || floats, Code::invalid, "tensor ", printable(name), " of type ", name_of(tensor.dtype),
                  " cannot be written as ", name_of(type));
    auto produce = [tensor, same](const EmitBytes& emit) {
        if (same) {
            emit(std::span(static_cast<const std::byte*>(tensor.data), tensor.bytes()));
        } else if (tensor.dtype == DType::f32) {
            emit_converted<float, bf16>(tensor.f32(), tensor.numel(), emit, [](float v) { return to_bf16(v); });
        } else {
            emit_converted<bf16, float>(tensor.bf16(), tensor.numel(), emit, [](bf16 v) { return to_float(v); });
        }
    };
    return {std::move(name), type, tensor.shape, produce};
}

void write_safetensors(const std::string& path, const std::vector<SafeTensorSource>& tensors,
                       const SafeMetadata& metadata) {
    check_names(path, tensors);
    write_file(path, pointers_to(tensors), metadata);
}

std::vector<std::string> write_sharded_safetensors(const std::string& folder, const std::string& stem,
                                                   const std::vector<SafeTensorSource>& tensors,
                                                   uint64_t max_shard_bytes, const SafeMetadata& metadata) {
    check_names(folder, tensors);
    std::filesystem::path place(folder);
    std::vector<Sources> shards = split_into_shards(tensors, max_shard_bytes);
    if (shards.size() <= 1) {
        std::string name = stem + ".safetensors";
        write_file((place / name).string(), pointers_to(tensors), metadata);
        return {name};
    }
    std::vector<std::string> names;
    nlohmann::json weight_map = nlohmann::json::object();
    uint64_t total = 0;
    for (size_t i = 0; i < shards.size(); i++) {
        char suffix[48];
        std::snprintf(suffix, sizeof suffix, "-%05zu-of-%05zu.safetensors", i + 1, shards.size());
        names.push_back(stem + suffix);
        write_file((place / names.back()).string(), shards[i], metadata);
        for (const SafeTensorSource* tensor : shards[i]) {
            weight_map[tensor->name] = names.back();
            total += tensor->bytes();
        }
    }
    nlohmann::json index = {{"metadata", {{"total_size", total}}}, {"weight_map", weight_map}};
    names.push_back(stem + ".safetensors.index.json");
    AtomicFile file((place / names.back()).string());
    file.write(index.dump(2, ' ', true) + "\n");
    file.commit();
    return names;
}

}  // namespace stepd
