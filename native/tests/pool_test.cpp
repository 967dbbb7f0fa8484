#include "base/pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "base/error.h"
#include "base/tickets.h"
#include "base/tile_queue.h"

namespace stepd {
namespace {

TEST(Pool, RunsEveryTicketOnce) {
    for (int threads : {1, 2, 5}) {
        Pool pool(threads);
        ASSERT_EQ(pool.threads(), threads);
        for (int64_t tickets : {0, 1, 2, 3, 7, 64, 1000}) {
            std::vector<int> calls(size_t(tickets), 0);  // plain ints: a ticket run twice at once is a data race
            pool.run(tickets, [&](int64_t ticket, int thread) {
                EXPECT_GE(thread, 0);
                EXPECT_LT(thread, threads);
                calls[size_t(ticket)]++;
            });
            for (int64_t t = 0; t < tickets; t++) EXPECT_EQ(calls[size_t(t)], 1) << "ticket " << t;
        }
    }
}

TEST(TileQueue, EveryTileIsTakenOnce) {
    for (int threads : {1, 2, 5}) {
        Pool pool(threads);
        for (int64_t tiles : {1, 2, 3, 7, 64, 1000}) {
            TileQueue queue(tiles, threads);
            std::vector<int> taken(size_t(tiles), 0);  // plain ints: a tile taken twice at once is a data race
            pool.run(tiles, [&](int64_t, int thread) { taken[size_t(queue.take(thread))]++; });
            EXPECT_EQ(taken, std::vector<int>(size_t(tiles), 1)) << threads << " threads";
        }
    }
}

TEST(TileQueue, AThreadTakesItsOwnTilesInOrderAndThenTheLastOfTheFullest) {
    TileQueue queue(6, 2);  // 0 1 2 and 3 4 5
    std::vector<int64_t> taken;
    for (int thread : {0, 0, 1, 0, 0, 0}) taken.push_back(queue.take(thread));
    EXPECT_EQ(taken, (std::vector<int64_t>{0, 1, 3, 2, 5, 4}));
}

TEST(Pool, ManyShortRunsFollowEachOther) {
    Pool pool(5);
    std::vector<int64_t> values(13);
    for (int run = 0; run < 2000; run++)
        pool.run(int64_t(values.size()), [&](int64_t ticket, int) { values[size_t(ticket)] += ticket; });
    for (size_t i = 0; i < values.size(); i++) EXPECT_EQ(values[i], 2000 * int64_t(i));
}

// A thread that looked at the first run before it was descheduled comes back at every point of the next run's start,
// and so does one that looks only then. Neither may take a ticket, above all none with the new run's number of tickets.
TEST(Pool, ThreadsLateFromTheLastRunTakeNoTicketOfTheNext) {
    Tickets tickets;
    const Tickets::Run few{nullptr, nullptr, 2}, many{nullptr, nullptr, 8};
    tickets.start(1, few, [] {});
    for (uint32_t t = 0; t < few.count; t++) {
        const Tickets::View view = tickets.look();
        ASSERT_TRUE(view.open(1));
        ASSERT_EQ(view.ticket(), t);
        while (!tickets.take(view)) {  // may fail by chance
        }
    }
    Tickets::View torn = tickets.look();  // the word of the last run ..
    EXPECT_FALSE(torn.open(1));
    torn.run = many;  // .. and the rest of the next one
    ASSERT_TRUE(torn.open(1));
    int moments = 0;
    tickets.start(2, many, [&] {
        moments++;
        for (int tries = 0; tries < 10; tries++) {
            EXPECT_FALSE(tickets.take(torn)) << "moment " << moments;
            EXPECT_FALSE(tickets.look().open(1)) << "moment " << moments;
        }
    });
    EXPECT_EQ(moments, 2);
    EXPECT_FALSE(tickets.take(torn));
    const Tickets::View fresh = tickets.look();
    EXPECT_TRUE(fresh.open(2));
    EXPECT_EQ(fresh.ticket(), 0u);
}

TEST(Pool, WorkersWakeAfterSleeping) {
    Pool pool(3);
    std::atomic<int> arrived{0};
    // Three tickets that each wait for the others can only end when all three threads take one.
    for (int round = 0; round < 3; round++) {
        arrived = 0;
        pool.run(3, [&](int64_t, int) {
            arrived++;
            while (arrived.load() < 3) std::this_thread::yield();
        });
        EXPECT_EQ(arrived.load(), 3);
        std::vector<double> work(1 << 20, 1.0);  // longer than the spin: the workers fall asleep
        EXPECT_EQ(std::accumulate(work.begin(), work.end(), 0.0), double(work.size()));
    }
}

TEST(Pool, RethrowsTheFirstExceptionAndStaysUsable) {
    for (int threads : {1, 4}) {
        Pool pool(threads);
        for (int round = 0; round < 20; round++) {
            EXPECT_THROW(pool.run(100,
                                  [](int64_t ticket, int) {
                                      if (ticket % 10 == 3) STEPD_THROW(Code::numeric, "ticket ", ticket);
                                  }),
                         Error);
            std::atomic<int64_t> sum{0};
            pool.run(100, [&](int64_t ticket, int) { sum += ticket; });
            EXPECT_EQ(sum.load(), 4950);
        }
    }
}

TEST(Pool, RefusesToRunInsideATicket) {
    for (int threads : {1, 2}) {
        Pool pool(threads);
        EXPECT_THROW(pool.run(4, [&](int64_t, int) { pool.run(1, [](int64_t, int) {}); }), Error);
        pool.run(2, [](int64_t, int) {});
    }
}

TEST(Pool, ScratchIsPrivateAlignedAndCounted) {
    Pool pool(2);
    EXPECT_EQ(pool.scratch_bytes(), 0u);
    auto* first = static_cast<char*>(pool.scratch(0, 100));
    EXPECT_EQ(reinterpret_cast<uintptr_t>(first) % 64, 0u);
    std::memset(first, 7, 100);
    auto* second = static_cast<char*>(pool.scratch(1, size_t(3) << 20));
    EXPECT_NE(first, second);
    std::memset(second, 9, size_t(3) << 20);
    EXPECT_EQ(pool.scratch(0, 50), first) << "a smaller request must keep the contents";
    EXPECT_EQ(first[99], 7);
    EXPECT_GE(pool.scratch_bytes(), (size_t(3) << 20) + 100);
}

TEST(Pool, TakesTheThreadCountFromTheEnvironment) {
    const char* before = std::getenv("STEPD_THREADS");
    std::string saved = before ? before : "";
    setenv("STEPD_THREADS", "3", 1);
    EXPECT_EQ(Pool().threads(), 3);
    EXPECT_EQ(Pool(2).threads(), 2) << "an explicit count wins";
    for (const char* wrong : {"0", "-1", "two", "3x", "99999"}) {
        setenv("STEPD_THREADS", wrong, 1);
        EXPECT_THROW(Pool(), Error) << wrong;
    }
    unsetenv("STEPD_THREADS");
    EXPECT_GE(Pool().threads(), 1);
    if (before) setenv("STEPD_THREADS", saved.c_str(), 1);
}

TEST(Pool, RefusesANegativeThreadCount) { EXPECT_THROW(Pool(-1), Error); }

}  // namespace
}  // namespace stepd
