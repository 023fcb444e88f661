"""The model of what authorizations cost."""

from __future__ import annotations

import unittest

from cost import Traffic, bill, billed_ms, measured


def dollars(traffic: Traffic) -> dict[str, float]:
    return {line.title: line.dollars for line in bill(traffic, 200e-6, 60e-6)}


class Bill(unittest.TestCase):
    def test_a_call_is_billed_in_whole_milliseconds_of_its_part_of_a_processor(self) -> None:
        self.assertEqual(billed_ms(200e-6, 1), 4)
        self.assertEqual(billed_ms(60e-6, 0), 1)
        self.assertEqual(billed_ms(1e-3, 0, 1769), 1)
        self.assertEqual(billed_ms(1e-3, 0, 128), 14)
        self.assertEqual(billed_ms(1e-3, 0, 3538), 1, "one call uses one processor")

    def test_a_million_uncached_calls_cost_what_the_prices_say(self) -> None:
        costs = dollars(Traffic(1e6, keys=1, minutes=1))
        self.assertAlmostEqual(costs["API Gateway"], 3.50)
        self.assertAlmostEqual(costs["authorizer, Lambda"], 0.20 + 1e6 * 0.004 * 0.5 * 0.0000166667)
        self.assertAlmostEqual(costs["authorizer, reads"], 0.125)

    def test_what_a_cache_answers_is_not_read_and_what_the_gateway_answers_is_not_invoked(self) -> None:
        cached, gateway = dollars(Traffic(1e6, cached=1)), dollars(Traffic(1e6, gateway_cached=1))
        self.assertEqual(cached["authorizer, reads"], 0)
        self.assertGreater(cached["authorizer, Lambda"], 0)
        self.assertEqual((gateway["authorizer, Lambda"], gateway["authorizer, reads"], gateway["last use"]), (0, 0, 0))
        self.assertEqual(gateway["API Gateway"], cached["API Gateway"])

    def test_a_token_reads_its_key_too(self) -> None:
        self.assertEqual(
            dollars(Traffic(1e6, tokens=0.5))["authorizer, reads"], 1.5 * dollars(Traffic(1e6))["authorizer, reads"]
        )

    def test_writes_follow_keys_and_minutes_and_never_exceed_the_calls(self) -> None:
        trail = "audit trail of calls"
        some = dollars(Traffic(1e9, keys=10, minutes=100, routes=2))
        self.assertAlmostEqual(some[trail], 10 * 100 * 2 * 2 * 0.625e-6)
        self.assertEqual(dollars(Traffic(1e3, keys=1e9))[trail], dollars(Traffic(1e3, activity="each"))[trail])
        self.assertEqual(dollars(Traffic(1e6, activity="off"))[trail], 0)
        a_month = Traffic(1e9, keys=1, minutes=43_200)
        self.assertAlmostEqual(dollars(a_month)["last use"], 2880 * 3 * 0.625e-6)

    def test_the_processor_time_is_read_from_the_table_of_warm_calls(self) -> None:
        page = (
            "**Warm**: a\n\n| **authorize** | 236 (216 to 283) | 5.51 |\n\n**Cold**\n\n| **authorize** | 5.9 (5.0) |\n"
        )
        self.assertAlmostEqual(measured(page, "**authorize**"), 236e-6)
        with self.assertRaises(SystemExit):
            measured(page, "**nothing**")


if __name__ == "__main__":
    unittest.main()
