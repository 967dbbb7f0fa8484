// Whole training runs, optimizers and learning rates against PyTorch and diffusers (testdata/training).
#include <gtest/gtest.h>

#include "reference/reference.h"

namespace stepd {
namespace {

const std::string kTestData = std::string(STEPD_SOURCE_DIR) + "/native/tests/testdata/training";

TEST(Training, follows_the_runs_of_diffusers) {
    const reference::Result result = reference::run(kTestData, "D");
    EXPECT_EQ(result.failed, 0);
    EXPECT_EQ(result.passed, 11);
}

TEST(Training, optimizers_and_rates_follow_torch) {
    const reference::Result result = reference::run(kTestData, "G");
    EXPECT_EQ(result.failed, 0);
    EXPECT_EQ(result.passed, 3);
}

}  // namespace
}  // namespace stepd
