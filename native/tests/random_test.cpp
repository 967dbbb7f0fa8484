#include "io/random.h"

#include <gtest/gtest.h>
#include <zlib.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <set>

#include "base/error.h"
#include "io/draws.h"
#include "reference/reference.h"

namespace stepd {
namespace {

const std::string kTestData = std::string(STEPD_SOURCE_DIR) + "/native/tests/testdata/";

TEST(Random, MatchesTorchReference) {
    reference::Result result = reference::run(kTestData + "reference", "F");
    EXPECT_EQ(result.failed, 0);
    EXPECT_GE(result.passed, 15);
    EXPECT_EQ(result.skipped, 0);
}

// Values of torch 2.15.
TEST(Random, LargeNormalTensorIsExact) {
    std::vector<float> x = Generator(99).randn(1000003);
    EXPECT_EQ(x[0], 0x1.32a5eep-2f);
    EXPECT_EQ(x[499999], 0x1.de88e4p-1f);
    EXPECT_EQ(x[1000002], -0x1.77bbeep-2f);
    EXPECT_EQ(crc32(0, reinterpret_cast<const Bytef*>(x.data()), uInt(x.size() * 4)), 43692850u);
}

TEST(Random, RandintUses64BitsFromRange28) {
    auto draw = [](int64_t low, int64_t high, int64_t n) { return Generator(5).randint(low, high, n); };
    EXPECT_EQ(draw(0, (1 << 28) - 1, 3), (std::vector<int64_t>{148147046, 236996814, 250105852}));
    EXPECT_EQ(draw(0, 1 << 28, 3), (std::vector<int64_t>{236996814, 80864957, 220060790}));
    EXPECT_EQ(draw(0, int64_t(1) << 31, 3), (std::vector<int64_t>{236996814, 1423042237, 1562238070}));
    EXPECT_EQ(draw(0, INT64_MAX, 3),
              (std::vector<int64_t>{4095051218741643470, 6838803925648402110, 3813295331020233846}));
    EXPECT_EQ(draw(-5, 3, 6), (std::vector<int64_t>{-2, 1, 2, 0, 1, 1}));
    EXPECT_THROW(draw(3, 3, 1), Error);
}

TEST(Random, OnlyTheLow32BitsOfTheSeedCount) {
    EXPECT_EQ(Generator(7).randn(40), Generator(7 + (uint64_t(1) << 32)).randn(40));
    EXPECT_NE(Generator(7).randn(40), Generator(8).randn(40));
}

TEST(Random, SmallNormalDrawsShareThePendingSine) {
    Generator split(3), whole(3);
    std::vector<float> parts = split.randn(3);
    for (float v : split.randn(5)) parts.push_back(v);
    EXPECT_EQ(parts, whole.randn(8));
}

TEST(Random, PortablePathEqualsAvx2) {
    std::vector<float> expected = Generator(11).randn(16000), values = Generator(11).rand(16000);
    detail::box_muller_portable(values.data(), 1000);
    EXPECT_EQ(values, expected);
}

TEST(Draws, MicroBatchDrawsComeInTheOrderOfTheContract) {
    DrawOptions options{
        .latents = {2, 4, 3, 5}, .sample_latents = true, .timestep = TimestepDraw::normal, .dropouts = 2};
    Draws draws = draw_micro_batch(9, 17, options);
    Generator g(9 * 1000003 + 17);
    EXPECT_EQ(draws.latent_noise, g.randn(120));
    EXPECT_EQ(draws.u, g.randn(2));
    EXPECT_EQ(draws.noise, g.randn(120));
    ASSERT_EQ(draws.dropouts.size(), 2u);
    EXPECT_EQ(draws.dropouts[0], g.rand(2));
    EXPECT_EQ(draws.dropouts[1], g.rand(2));
    EXPECT_TRUE(draws.timesteps.empty());

    options = {.latents = {3, 4, 2, 2}, .timestep = TimestepDraw::integers, .timesteps = 500};
    draws = draw_micro_batch(UINT64_MAX, 5, options);
    Generator h((UINT64_MAX * 1000003 + 5) & (UINT64_MAX >> 1));
    EXPECT_TRUE(draws.latent_noise.empty());
    EXPECT_EQ(draws.timesteps, h.randint(0, 500, 3));
    EXPECT_EQ(draws.noise, h.randn(48));
}

TEST(Draws, SeedsFollowTheContract) {
    EXPECT_EQ(micro_batch_seed(3, 4), 3000013u);
    EXPECT_EQ(micro_batch_seed(0, uint64_t(INT64_MAX) + 3), 2u) << "modulo 2^63";
    EXPECT_EQ(adapter_dropout_seed(3, 4), 3000013u + 2654435769u);
    EXPECT_EQ(adapter_init_seed(12), 12u);
}

TEST(Draws, RoundingKeysOfNeighboursAreFarApart) {
    std::set<uint32_t> low_words;
    int changed = 0, pairs = 0;
    for (uint64_t step = 0; step < 30; step++) {
        for (uint64_t parameter = 0; parameter < 30; parameter++) {
            uint64_t key = rounding_key(1, step, parameter);
            low_words.insert(uint32_t(key));
            changed += std::popcount(key ^ rounding_key(1, step, parameter + 1));
            changed += std::popcount(key ^ rounding_key(1, step + 1, parameter));
            changed += std::popcount(key ^ rounding_key(2, step, parameter));
            pairs += 3;
        }
    }
    EXPECT_EQ(low_words.size(), 900u);
    EXPECT_NEAR(double(changed) / pairs, 32.0, 0.5);
}

}  // namespace
}  // namespace stepd
