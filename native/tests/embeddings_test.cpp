// timestep_embedding, position_embedding, embedding and t5_position_bias.
#include "tests/kernel_cases.h"

namespace stepd::test {
namespace {

TEST(TimestepEmbedding, CosinesThenSines) {
    for (const std::string& isa : test_isas()) {
        for (int64_t dim : {256, 6, 7, 2}) {
            HostTensor t({4}, DType::f32, {0, 1, 250.5, 999});
            int64_t half = dim / 2;
            std::vector<double> want;
            for (size_t b = 0; b < 4; b++) {
                auto angle = [&](int64_t i) { return t.at(b) * std::pow(10000.0, -double(i) / double(half)); };
                for (int64_t i = 0; i < half; i++) want.push_back(std::cos(angle(i)));
                for (int64_t i = 0; i < half; i++) want.push_back(std::sin(angle(i)));
                if (dim % 2) want.push_back(0);
            }
            auto y = run_kernel_all_threads(isa, "timestep_embedding", {&t}, {{{4, dim}, DType::f32}},
                                            {{"dim", double(dim)}});
            expect_close(y[0], want, 5e-5, "embedding");  // the angle is f32, as in diffusers
        }
    }
}

TEST(PositionEmbedding, WidthFirstStretchedToTheBaseGrid) {
    for (const std::string& isa : test_isas()) {
        int64_t dim = 24, height = 3, width = 5;
        std::vector<double> want;
        for (int64_t token = 0; token < height * width; token++) {
            double x = double(token % width) / (double(width) / 16) / 2,
                   y = double(token / width) / (double(height) / 16) / 2;
            for (double position : {x, y}) {
                for (int64_t i = 0; i < dim / 4; i++)
                    want.push_back(std::sin(position * std::pow(1e4, -4.0 * double(i) / double(dim))));
                for (int64_t i = 0; i < dim / 4; i++)
                    want.push_back(std::cos(position * std::pow(1e4, -4.0 * double(i) / double(dim))));
            }
        }
        Attrs attrs{{"dim", 24}, {"height", 3}, {"width", 5}, {"base_size", 16}, {"interpolation", 2}};
        auto y = run_kernel_all_threads(isa, "position_embedding", {}, {{{height * width, dim}, DType::f32}}, attrs);
        expect_close(y[0], want, 1e-6, "table");
        // By hand: token 7 is x = 2, y = 1, so x / (5/16) / 2 = 3.2 and y / (3/16) / 2 = 8/3; omega_0 = 1.
        EXPECT_NEAR(y[0].at(7 * 24), std::sin(3.2), 1e-6);
        EXPECT_NEAR(y[0].at(7 * 24 + 6), std::cos(3.2), 1e-6);
        EXPECT_NEAR(y[0].at(7 * 24 + 12), std::sin(8.0 / 3), 1e-6);
        EXPECT_NEAR(y[0].at(7 * 24 + 18), std::cos(8.0 / 3), 1e-6);
    }
}

TEST(Embedding, LooksUpRowsAndNamesAnIdOutsideTheTable) {
    for_each_case([&](const std::string& isa, DType dtype) {
        HostTensor table = random_tensor({11, 24}, dtype, 1);
        HostTensor ids({2, 3}, DType::i32, {0, 10, 5, 5, 1, 0});
        auto y = run_kernel_all_threads(isa, "embedding", {&ids, &table}, {{{2, 3, 24}, dtype}});
        for (size_t i = 0; i < y[0].size(); i++) EXPECT_EQ(y[0].at(i), table.at(size_t(ids.at(i / 24)) * 24 + i % 24));
        for (double wrong : {11.0, -1.0}) {
            ids.set(4, wrong);
            try {
                run_kernel(isa, "embedding", {&ids, &table}, {{{2, 3, 24}, dtype}});
                FAIL() << "id " << wrong << " was accepted";
            } catch (const Error& e) {
                EXPECT_EQ(e.code(), Code::invalid);
                EXPECT_NE(std::string(e.what()).find("position 4"), std::string::npos) << e.what();
            }
        }
    });
}

TEST(T5PositionBias, BucketBoundaries) {
    // Distance key - query -> row of the table, from transformers' T5Attention._relative_position_bucket with 32
    // buckets and maximum distance 128.
    const std::map<int, int> buckets = {{0, 0},    {-1, 1},   {-7, 7},   {-8, 8},   {-11, 8},   {-12, 9},   {-15, 9},
                                        {-16, 10}, {-22, 10}, {-23, 11}, {-31, 11}, {-32, 12},  {-45, 12},  {-46, 13},
                                        {-63, 13}, {-64, 14}, {-90, 14}, {-91, 15}, {-127, 15}, {-128, 15}, {-160, 15},
                                        {1, 17},   {7, 23},   {8, 24},   {16, 26},  {64, 30},   {127, 31},  {160, 31}};
    const int64_t length = 161, heads = 3;
    for_each_case([&](const std::string& isa, DType dtype) {
        HostTensor table({32, heads}, dtype);
        for (size_t i = 0; i < table.size(); i++) table.set(i, double(i));
        auto y = run_kernel_all_threads(isa, "t5_position_bias", {&table}, {{{heads, length, length}, DType::f32}},
                                        {{"length", double(length)}, {"max_distance", 128}});
        for (int64_t h = 0; h < heads; h++)
            for (auto [distance, bucket] : buckets)
                for (int64_t query = std::max(0, -distance); query < std::min<int64_t>(length, length - distance);
                     query++)
                    ASSERT_EQ(y[0].at(size_t((h * length + query) * length + query + distance)),
                              double(bucket * heads + h))
                        << "distance " << distance;
    });
}

}  // namespace
}  // namespace stepd::test
