#include "train/init_model.h"

#include <filesystem>
#include <vector>

#include "base/error.h"
#include "io/file.h"
#include "io/random.h"
#include "models/folder.h"
#include "train/export.h"
#include "train/parameters.h"
#include "train/slab.h"

namespace stepd {

void init_model(const InitModelRequest& r) {
    STEPD_REQUIRE(!r.config.empty() && !r.out.empty(), Code::invalid, "init_model needs config and out");
    const SafeType type = parse_export_dtype(r.dtype, "dtype");
    const Family& family = find_family(r.family, nullptr);
    const auto denoiser = family.make_denoiser(read_json(r.config));
    std::vector<TensorSpec> specs;
    for (const ParameterSpec& p : denoiser->parameters())
        specs.push_back({p.shape, type == SafeType::bf16 ? DType::bf16 : DType::f32});
    const Slab weights(specs);
    Generator generator(r.seed);
    std::vector<SafeTensorSource> sources;
    std::vector<float> values;
    for (size_t i = 0; i < weights.size(); i++) {
        const ParameterSpec& p = denoiser->parameters()[i];
        values.resize(size_t(numel(p.shape)));
        denoiser->initialise(p, generator, values.data());
        copy_values(Tensor{values.data(), DType::f32, p.shape}, weights[i]);
        sources.push_back(weight_source(p.name, weights[i], type));
    }
    std::error_code error;
    std::filesystem::create_directories(r.out, error);
    STEPD_REQUIRE(!error, Code::io, "cannot create ", r.out, ": ", error.message());
    write_sharded_safetensors(r.out, "diffusion_pytorch_model", sources, kMaxShardBytes);
    const MappedFile config(r.config);
    AtomicFile copy(r.out + "/config.json");
    copy.write(config.bytes());
    copy.commit();
}

}  // namespace stepd
