"""The table of parts that some of the synthetic operator's customers play."""

from streams.synthetic.parts import calls, clouds, flows, sessions, television, texts
from streams.synthetic.parts.part import EVERYTHING, UNLIKE_OTHERS, Part, abuser, look_alike
from streams.synthetic.parts.schedules import (
    a_closed_day,
    a_closed_day_of_a_cohort,
    a_closed_month,
    a_whole_closed_month,
    at_least,
    days_between,
    days_of_a_month,
    some_days,
    some_days_of_a_week,
    stretch,
    two_closed_weeks,
    two_weeks,
    weekdays,
    weekends,
)
from streams.synthetic.plans import (
    BUSINESS,
    MOBILE_BUNDLE,
    MOBILE_START,
    MOBILE_UNLIMITED,
    PACK_UNLIMITED,
)

ONCE, SELDOM = some_days(1, 1), some_days(1, 3)
MONTH_OF_TEXTS = days_of_a_month(29)
"""On this many days, 345 texts a day are more than 10,000."""

OVER_A_YEAR, OVER_FOUR_MONTHS = at_least(400), at_least(155)
AFTER_THIRTY_DAYS = at_least(36)
FIXED = {"plan": (PACK_UNLIMITED,)}
PRIVATE = {"plan": (MOBILE_UNLIMITED, MOBILE_BUNDLE)}
SMALL = {"plan": (MOBILE_START,), "valid_from_day": clouds.CHANGE_DAY}
ENDED = {"ends": True, "valid_from_day": clouds.CHANGE_DAY, "mutes": EVERYTHING}


def _may(*rules: str) -> tuple[str, ...]:
    return (*UNLIKE_OTHERS, *rules)


PARTS: tuple[Part, ...] = (
    look_alike("silent", share=0.04, is_silent=True, plan=(), may=("inactive",)),
    # Texts
    abuser("sms_daily", play=texts.sms_daily, when=some_days(1, 5)),
    abuser("sms_monthly", play=texts.sms_monthly, needs=MONTH_OF_TEXTS),
    abuser("sms_group", play=texts.sms_group, when=SELDOM),
    abuser("sms_bulk", play=texts.sms_bulk, when=SELDOM),
    look_alike("festival_crowd", play=texts.festival_crowd, when=ONCE, together=True, share=0.004),
    look_alike("club_secretary", play=texts.club_secretary, when=weekends),
    look_alike("organiser", play=texts.organiser, when=SELDOM),
    # Calls
    abuser(
        "voice_daily",
        play=calls.voice_daily,
        when=some_days_of_a_week(3, 5),
        may=_may("voice_weekly"),
    ),
    abuser("voice_weekly", play=calls.voice_weekly, when=stretch(21), needs=at_least(21)),
    abuser("voice_continuous", play=calls.voice_continuous, when=some_days_of_a_week(4, 6)),
    abuser("monitoring", play=calls.monitoring, when=some_days_of_a_week(4, 6)),
    abuser(
        "gateway", play=calls.gateway, when=days_between(0, 14), mutes=EVERYTHING, needs=at_least(7)
    ),
    look_alike("salesman", play=calls.salesman, when=weekdays, plan=(BUSINESS,)),
    look_alike("chatterer", play=calls.chatterer, when=some_days_of_a_week(4, 6)),
    look_alike("couple", play=calls.couple, when=stretch(14)),
    # Mobile data
    abuser(
        "data_monthly_ratio",
        data_times=(30, 40),
        must=("usage_double",),
        may=_may("overload"),
        needs=a_closed_month,
    ),
    abuser("usage_double", data_times=(7, 8.5), needs=a_whole_closed_month),
    abuser("data_bundle", play=sessions.data_bundle, when=ONCE, plan=(MOBILE_BUNDLE, MOBILE_START)),
    abuser(
        "roaming_volume",
        play=sessions.roaming_volume,
        when=ONCE,
        is_abroad=True,
        may=_may("data_monthly_ratio"),
    ),
    abuser("sharing", play=sessions.sharing, when=some_days_of_a_week(5, 6)),
    abuser(
        "overload", play=sessions.overload, when=some_days(1, 2), may=_may("data_monthly_ratio")
    ),
    look_alike("heavy_data_user", data_times=(6, 6), must=("usage_double",), needs=a_closed_month),
    look_alike(
        "careful_user",
        play=sessions.careful_user,
        plan=(MOBILE_BUNDLE, MOBILE_START),
        mutes=("data",),
    ),
    look_alike("family", play=sessions.family),
    # Any kind of use
    abuser("machine", play=sessions.machine, when=stretch(14), mutes=EVERYTHING, needs=at_least(7)),
    abuser("deviation", play=sessions.deviation, when=two_weeks, needs=two_closed_weeks),
    abuser("roaming_permanent", is_abroad=True, needs=OVER_FOUR_MONTHS),
    abuser("inactive", when=days_between(10, 10_000), mutes=EVERYTHING, needs=OVER_A_YEAR),
    look_alike("backup_client", play=sessions.backup_client, mutes=("storage",)),
    look_alike(
        "night_nurse", play=sessions.night_nurse, when=stretch(5), mutes=("sms", "voice", "data")
    ),
    look_alike("student", play=sessions.student, when=two_weeks, may=(), needs=two_closed_weeks),
    look_alike("traveller", when=stretch(21), is_abroad=True, may=()),
    look_alike("returner", when=days_between(10, 340), mutes=EVERYTHING, needs=OVER_A_YEAR),
    # Connections of the fixed line
    abuser(
        "portscan", play=flows.portscan, when=SELDOM, may=_may("portscan_slow", "attack"), **FIXED
    ),
    abuser("portscan_slow", play=flows.portscan_slow, when=SELDOM, **FIXED),
    abuser("ddos", play=flows.ddos, when=ONCE, together=True, may=_may("overload"), **FIXED),
    abuser("attack", play=flows.attack, when=SELDOM, **FIXED),
    abuser("mail_spam", play=flows.mail_spam, when=SELDOM, **FIXED),
    abuser("mail_bomb", play=flows.mail_bomb, when=SELDOM, **FIXED),
    abuser("inbound_abuse", play=flows.inbound_abuse, when=SELDOM, may=_may("overload"), **FIXED),
    look_alike("keen_browser", play=flows.keen_browser, **FIXED),
    look_alike("link_checker", play=flows.link_checker, **FIXED),
    look_alike("speed_tester", play=flows.speed_tester, when=SELDOM, **FIXED),
    look_alike("administrator", play=flows.administrator, when=weekdays, **FIXED),
    look_alike("club_mail_list", play=flows.club_mail_list, when=weekends, **FIXED),
    look_alike("photographer", play=flows.photographer, when=weekdays, **FIXED),
    look_alike("probed", play=flows.probed, **FIXED),
    # Storage
    abuser("storage_capacity", play=clouds.storage_capacity, mutes=("storage",), **PRIVATE),
    abuser("storage_file_size", play=clouds.storage_file_size, mutes=("storage",)),
    abuser("storage_contacts", play=clouds.storage_contacts, mutes=("storage",)),
    abuser("storage_linked_items", play=clouds.storage_linked_items, mutes=("storage",)),
    abuser("storage_shared_items", play=clouds.storage_shared_items, mutes=("storage",)),
    abuser(
        "storage_flood",
        play=clouds.storage_flood,
        when=a_closed_day,
        mutes=("storage",),
        needs=a_closed_day_of_a_cohort,
    ),
    abuser(
        "storage_downgrade",
        play=clouds.storage_downgrade,
        mutes=("storage",),
        may=_may("storage_capacity"),
        needs=at_least(6),
        **SMALL,
    ),
    abuser("storage_ended", play=clouds.storage_ended, needs=AFTER_THIRTY_DAYS, **ENDED),
    look_alike("full_storage", play=clouds.full_storage, mutes=("storage",)),
    look_alike(
        "tidy_downgrader",
        play=clouds.tidy_downgrader,
        mutes=("storage",),
        may=_may("storage_capacity"),
        **SMALL,
    ),
    look_alike("tidy_leaver", play=clouds.tidy_leaver, needs=AFTER_THIRTY_DAYS, **ENDED),
    # Television
    abuser(
        "stream_devices",
        play=television.stream_devices,
        when=stretch(6),
        mutes=("stream",),
        needs=at_least(2),
        **FIXED,
    ),
    abuser(
        "stream_concurrent",
        play=television.stream_concurrent,
        when=some_days_of_a_week(4, 6),
        mutes=("stream",),
        **FIXED,
    ),
    abuser(
        "stream_elsewhere",
        play=television.stream_elsewhere,
        when=some_days_of_a_week(4, 6),
        mutes=("stream",),
        **FIXED,
    ),
    look_alike(
        "family_with_television",
        play=television.family_with_television,
        mutes=("stream",),
        **FIXED,
    ),
    look_alike("weekender", play=television.weekender, when=weekends, mutes=("stream",), **FIXED),
)
"""Abusers are named after the rule that they break; nobody plays two parts."""
