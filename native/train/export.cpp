#include "train/export.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <filesystem>

#include "base/error.h"
#include "io/file.h"

namespace stepd {
namespace {

// IEEE binary16, to nearest even; too large becomes infinity.
uint16_t to_f16(float value) {
    const uint32_t u = std::bit_cast<uint32_t>(value);
    const uint16_t sign = uint16_t(u >> 16 & 0x8000);
    const float magnitude = std::fabs(value);
    if (std::isnan(value)) return uint16_t(sign | 0x7e00);
    if (magnitude >= 65520.f) return uint16_t(sign | 0x7c00);
    if (magnitude < 6.103515625e-05f)  // subnormal: units of 2^-24
        return uint16_t(sign | uint16_t(std::nearbyint(magnitude * 16777216.f)));
    const uint32_t bits = std::bit_cast<uint32_t>(magnitude);
    return uint16_t(sign | uint16_t((bits + 0xfff + (bits >> 13 & 1) - (112u << 23)) >> 13));
}

float element(const Tensor& t, int64_t i) { return t.dtype == DType::bf16 ? to_float(t.bf16()[i]) : t.f32()[i]; }

// The trained parameter's weight or its average.
Tensor trained_values(const TrainedTensor& t, bool average) {
    return average ? Tensor{t.average, DType::f32, t.weight.shape} : t.weight;
}

void export_full(const ExportRequest& r, const Model& model, ParameterStore& store, uint64_t max_shard_bytes) {
    const SafeType type = parse_export_dtype(r.dtype, "export.dtype");
    std::vector<SafeTensorSource> sources;
    for (const TrainedTensor& t : store.trained())
        sources.push_back(weight_source(t.name, trained_values(t, r.ema), type));
    SafeMetadata metadata = {{"format", "pt"}};
    metadata.insert(r.metadata.begin(), r.metadata.end());
    std::error_code ignored;
    std::filesystem::create_directories(r.path, ignored);
    write_sharded_safetensors(r.path, "diffusion_pytorch_model", sources, max_shard_bytes, metadata);
    const MappedFile config(model.folder.path_of("transformer") + "/config.json");
    AtomicFile copy(r.path + "/config.json");
    copy.write(config.bytes());
    copy.commit();
}

void export_adapter(const ExportRequest& r, const Model& model, ParameterStore& store) {
    const SafeType type = parse_export_dtype(r.dtype, "export.dtype");
    std::vector<std::vector<float>> values;
    std::vector<const float*> pointers;
    for (const TrainedTensor& t : store.trained()) {
        values.emplace_back(size_t(t.weight.numel()));
        copy_values(trained_values(t, r.ema), Tensor{values.back().data(), DType::f32, t.weight.shape});
        pointers.push_back(values.back().data());
    }
    std::vector<AdapterTensor> tensors = model.adapter->export_tensors(pointers);
    std::vector<SafeTensorSource> sources;
    for (AdapterTensor& t : tensors)
        sources.push_back(weight_source(t.name, Tensor{t.data.data(), DType::f32, t.shape}, type));
    SafeMetadata metadata = model.adapter->export_metadata();
    metadata.insert(r.metadata.begin(), r.metadata.end());
    write_safetensors(r.path, sources, metadata);
}

}  // namespace

SafeType parse_export_dtype(const std::string& name, const std::string& field) {
    if (name == "fp32") return SafeType::f32;
    if (name == "bf16") return SafeType::bf16;
    if (name == "fp16") return SafeType::f16;
    STEPD_THROW(Code::unsupported, field, " \"", name, "\" is not one of fp32, bf16, fp16");
}

SafeTensorSource weight_source(const std::string& name, const Tensor& tensor, SafeType type) {
    if (type != SafeType::f16) return source_of(name, tensor, type);
    auto produce = [tensor](const EmitBytes& emit) {
        std::vector<uint16_t> block(1 << 16);
        for (int64_t at = 0; at < tensor.numel(); at += int64_t(block.size())) {
            const size_t n = size_t(std::min<int64_t>(int64_t(block.size()), tensor.numel() - at));
            for (size_t i = 0; i < n; i++) block[i] = to_f16(element(tensor, at + int64_t(i)));
            emit(std::as_bytes(std::span(block.data(), n)));
        }
    };
    return {name, type, tensor.shape, produce};
}

void export_weights(const ExportRequest& r, const Model& model, ParameterStore& store, uint64_t max_shard_bytes) {
    STEPD_REQUIRE(!r.path.empty(), Code::invalid, "export.path is missing");
    STEPD_REQUIRE(r.format.empty() || r.format == "diffusers", Code::unsupported, "export.format \"", r.format,
                  "\": only diffusers");
    store.start_training();
    STEPD_REQUIRE(!r.ema || (!store.trained().empty() && store.trained()[0].average), Code::invalid,
                  "export.ema: the session keeps no average (config.ema)");
    if (model.adapter)
        export_adapter(r, model, store);
    else
        export_full(r, model, store, max_shard_bytes);
}

}  // namespace stepd
