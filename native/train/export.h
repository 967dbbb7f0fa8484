// Trained weights as files that other programs read.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "io/safetensors.h"
#include "train/config.h"
#include "train/model.h"
#include "train/parameters.h"

namespace stepd {

struct ExportRequest {
    std::string path;  // folder for a full model, file for an adapter
    std::string format = "diffusers";
    std::string dtype = "fp32";  // "fp32", "bf16", "fp16"
    bool ema = false;
    std::map<std::string, std::string> metadata;
};

constexpr uint64_t kMaxShardBytes = 10'000'000'000;  // diffusers' default

// A full fine-tune becomes a transformer folder (config.json and weights, in shards above max_shard_bytes), an adapter
// one LoRA file. Throws Code::invalid or Code::unsupported naming the field.
void export_weights(const ExportRequest& request, const Model& model, ParameterStore& store,
                    uint64_t max_shard_bytes = kMaxShardBytes);

SafeType parse_export_dtype(const std::string& name, const std::string& field);
// As source_of, and to f16 as well; the tensor must outlive the source.
SafeTensorSource weight_source(const std::string& name, const Tensor& tensor, SafeType type);

}  // namespace stepd
