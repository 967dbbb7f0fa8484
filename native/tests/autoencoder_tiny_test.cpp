// The decoder of the tiny autoencoder against diffusers (testdata/vae_tiny, made by make.py there).
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "backend/cpu.h"
#include "io/safetensors.h"
#include "models/autoencoder_tiny.h"
#include "models/folder.h"
#include "reference/evaluation.h"
#include "tests/expect_error.h"
#include "train/component.h"

namespace stepd {
namespace {

const std::string kFolder = std::string(STEPD_SOURCE_DIR) + "/native/tests/testdata/vae_tiny";

nlohmann::json config() { return read_json(kFolder + "/config.json"); }

TEST(AutoencoderTiny, DecodesAsDiffusersDoes) {
    const auto decoder = make_autoencoder_tiny(config(), "vae_tiny");
    EXPECT_EQ(decoder->latent_channels(), 4);
    EXPECT_EQ(decoder->factor(), 4);
    const ComponentWeights weights(*decoder, kFolder, DType::f32);
    const SafetensorsReader golden(kFolder + "/decode.safetensors");
    std::vector<float> z = reference::floats(golden.at("z")), wanted = reference::floats(golden.at("image"));
    const auto backend = make_cpu_backend(2);
    Executor executor(make_plan(DecoderRunner::record(*decoder, 3, 5)), *backend);
    weights.bind(executor);
    std::vector<float> image(wanted.size());
    executor.bind("z", z.data());
    executor.bind("image", image.data());
    executor.run();
    for (size_t i = 0; i < image.size(); i++) EXPECT_NEAR(image[i], wanted[i], 2e-5) << "element " << i;
}

TEST(AutoencoderTiny, PublishedShapesHaveTheNamesOfTheirFiles) {
    const auto decoder = make_autoencoder_tiny({{"_class_name", "AutoencoderTiny"}}, "taesd");
    EXPECT_EQ(decoder->factor(), 8);
    EXPECT_EQ(decoder->parameters().size(), 67u);
    EXPECT_EQ(decoder->parameters().front().name, "decoder.layers.0.weight");
    EXPECT_EQ(decoder->parameters()[2].name, "decoder.layers.2.conv.0.weight");
    EXPECT_EQ(decoder->parameters().back().name, "decoder.layers.18.bias");
    EXPECT_EQ(decoder->parameters().back().shape, Shape{3});
}

TEST(AutoencoderTiny, UnsupportedConfigurationsAreNamed) {
    const std::tuple<const char*, nlohmann::json, Code> refused[] = {
        {"_class_name", "AutoencoderKL", Code::unsupported},
        {"act_fn", "silu", Code::unsupported},
        {"upsample_fn", "bilinear", Code::unsupported},
        {"upsampling_scaling_factor", 4, Code::unsupported},
        {"decoder_block_out_channels", {8, 8}, Code::invalid},
        {"decoder_block_out_channels", {8, 16, 8}, Code::unsupported},
        {"num_decoder_blocks", {1, 1000, 1}, Code::invalid},
        {"scaling_factor", 0, Code::invalid}};
    for (const auto& [key, value, code] : refused) {
        nlohmann::json changed = config();
        changed[key] = value;
        expect_contains(message_of(code, [&] { make_autoencoder_tiny(changed, "taesd"); }), key);
    }
}

}  // namespace
}  // namespace stepd
