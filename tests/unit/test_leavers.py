"""What exports say about people who left, and which column is what in them."""

import pytest

from worker.consent.headings import read_header
from worker.consent.leavers import Standing, judge

IN, LEFT, UNCONFIRMED, UNKNOWN = Standing


@pytest.mark.parametrize(
    ("heading", "cell", "said"),
    [
        ("UNSUB_TIME", "2018-07-23 12:19:27", LEFT), ("UNSUB_TIME", "", IN), ("UNSUB_TIME", "0000-00-00 00:00:00", IN),
        ("CLEAN_TIME", "2018-07-23", LEFT), ("unsubscribed_at", "2024-03-13 11:33:53 UTC", LEFT),
        ("deleted_at", "2024-01-01", LEFT), ("subscribed_to_emails", "false", LEFT),
        ("subscribed_to_emails", "true", IN),
        ("blocklisted", "1", LEFT), ("blacklisted", "0", IN), ("confirmed", "0", UNCONFIRMED), ("confirmed", "1", IN),
        ("email_disabled", "true", LEFT), ("email_disabled", "false", IN), ("active_subscription", "false", IN),
        ("Unsubscribed from all email", "TRUE", LEFT), ("EMAIL_BLACKLISTED", "Yes", LEFT),
        ("Status", "enabled", IN), ("Status", "blocklisted", LEFT), ("status", "Marked as spam", LEFT),
        ("status", "inactive", LEFT), ("status", "unconfirmed", UNCONFIRMED), ("status", "Pending", UNCONFIRMED),
        ("Status", "abgemeldet", LEFT), ("statut", "Désabonné", LEFT), ("Estado", "Dado de baja", LEFT),
        ("status", "VIP", UNKNOWN), ("state", "TX", IN), ("type", "unactivated", UNCONFIRMED),
        ("status", "cleaned", LEFT),
        ("Abgemeldet am", "04.05.2024", LEFT), ("cancelled_at", "null", IN), ("deactivated", "0", IN),
        ("city", "unsubscribed", IN), ("Lead Status", "Deleted", IN),
        ("status", "1", IN), ("status", "0", LEFT), ("status", "2", LEFT), ("state", "2", IN),
        ("Email Suppressions", "HARD_BOUNCE", LEFT), ("complaints", "1", LEFT), ("complaints", "0", IN),
        ("Email permission status", "Express", IN), ("Email permission status", "No permissions set", UNCONFIRMED),
        # one column for each list, as CRMs write them; a column whose heading only ends in status
        ("Opted out of email: Newsletter", "true", LEFT), ("Opted out of email: Newsletter", "", IN),
        ("Portal Unsubscribe", "TRUE", LEFT), ("Global Bounce", "TRUE", LEFT), ("Newsletter abbestellt", "x", LEFT),
        ("Global Status", "Unsubscribed", LEFT), ("Global Status", "unconfirmed", UNCONFIRMED),
        ("Customer Status", "inactive", IN), ("Order status", "cancelled", IN), ("Payment status", "failed", IN),
        ("Newsletter-Status", "Abgemeldet am 4.5.2024", LEFT), ("status", "Unsubscribed (2024-05-04)", LEFT),
        ("Email Marketing Consent", "NEVER_SUBSCRIBED", UNCONFIRMED), ("Email Marketing Consent", "SUBSCRIBED", IN),
        ("Email Marketing Consent", "UNSUBSCRIBED", LEFT),
        ("opt_in", "0", UNCONFIRMED), ("Accepts Email Marketing", "no", UNCONFIRMED), ("Consent", "no", UNCONFIRMED),
        ("opt_in", "unsubscribed", LEFT), ("state", "NO", IN), ("state", "OFF", IN), ("state", "cancelled", LEFT),
        # these have a value for everybody
        ("Unsubscribe link", "https://example.org/u/1", IN), ("unsubscribe_token", "x7", IN), ("bounced", "0.0", IN),
        ("Abmeldelink", "https://example.org/u/1", IN),
    ],
)  # fmt: skip
def test_a_column_that_says_who_left_is_obeyed(heading: str, cell: str, said: Standing) -> None:
    columns = read_header(["email", heading], {})
    assert judge(["a@example.org", cell], columns.left)[0] is said


def test_a_column_named_by_a_person_says_no_with_anything_but_a_plain_yes_to_mail() -> None:
    columns = read_header(["email", "Wants out"], {}, ["wants out"])
    assert [judge(["", cell], columns.left)[0] for cell in ("", "no", "active", "2024-01-01", "yes")] == [
        IN, IN, IN, LEFT, LEFT,
    ]  # fmt: skip


def test_phplist_mails_whoever_is_confirmed() -> None:
    columns = read_header(["id", "email", "confirmed", "blacklisted", "optedin"], {})
    assert [judge(["1", "", *cells], columns.left)[0] for cells in ("100", "110", "001")] == [IN, LEFT, UNCONFIRMED]


def test_a_column_a_person_clears_says_nothing_any_more() -> None:
    header = ["email", "Status", "unsubscribed_at"]
    columns = read_header(header, {}, not_left=["status"])
    assert judge(["", "inactive", ""], columns.left)[0] is IN
    assert judge(["", "inactive", "2024-01-01"], columns.left) == (LEFT, "unsubscribed_at")
    assert columns.attributes == ((1, "status"), (2, "unsubscribed_at"))


def test_the_strongest_no_of_a_row_counts_and_names_its_column() -> None:
    columns = read_header(["email", "status", "unsubscribed_at"], {})
    assert judge(["", "pending", "2024-01-01"], columns.left) == (LEFT, "unsubscribed_at")
    assert judge(["", "pending"], columns.left) == (UNCONFIRMED, "status")


@pytest.mark.parametrize(
    ("header", "program"),
    [
        ("Emailadresse,Vorname,Nachname,MEMBER_RATING,OPTIN_TIME,LEID", "Mailchimp"),
        ("id,email,name,note,subscribed_to_emails,complimentary_plan,stripe_customer_id,labels,tiers", "Ghost"),
        ("email,active_subscription,expiry,plan,email_disabled,created_at,first_payment_at", "Substack"),
        ("uuid,email,name,attributes,status,created_at,updated_at", "listmonk"),
        ("email,First Name,Last Name,status,tier,created_at,stripe_customer_id,Free Tier,Premium Tier", "beehiiv"),
        ("id,email,confirmed,blacklisted,optedin,bouncecount,entered,modified,uniqid,htmlemail", "phpList"),
        ("Timestamp,Email Address,What is your name?", "Google Forms"),
        ("Record ID,First Name,Last Name,Email,Contact owner,Lead Status,Unsubscribed from all email", "HubSpot"),
        ("Email address,First name,Last name,Status,Tags,Date added,Last updated", "EmailOctopus"),
        ("Email,Name,Stripe plan,Cancel date,Start date,Paid upgrade date,Bestseller", "Substack"),
        ("Email,First Name,Last Name,Status,Date Subscribed", None),
        ("email,name,city", None),
        ("email,name,language,consent_at,labels,tiers,products", None),
    ],
)
def test_the_program_that_wrote_a_file_is_named(header: str, program: str | None) -> None:
    assert read_header(header.split(","), {}).program == program


@pytest.mark.parametrize(
    "heading",
    ["E-Mail-Adresse", "Adresse e-mail", "Dirección de correo electrónico", "E-mailadres", "Indirizzo e-mail", "EMAIL",
     "Endereço de e-mail", "メールアドレス", "Электронная почта", "E-mail 1 - Value", "Email address"],
)  # fmt: skip
def test_the_column_with_the_addresses_is_known_in_many_languages(heading: str) -> None:
    assert read_header(["x", heading], {}).email == 1


@pytest.mark.parametrize(
    ("header", "parts"),
    [
        ("email,First Name,Last Name", (1, 2)), ("email,Nachname,Vorname", (2, 1)), ("email,Vorname,Name", (1, 2)),
        ("email,Nom,Prénom", (2, 1)), ("email,Nombre,Apellidos", (1, 2)), ("email,Nome,Cognome", (1, 2)),
        ("email,first_name", (1,)), ("email,Name,First Name", ()),
    ],
)  # fmt: skip
def test_first_and_last_name_make_the_name(header: str, parts: tuple[int, ...]) -> None:
    assert read_header(header.split(","), {}).name_parts == parts


def test_a_column_nobody_asked_for_is_renamed_or_left_out_and_never_refused() -> None:
    # When
    columns = read_header(["email", "Name", "Größe", "City", "city ", "Name", "if", "Имя", "", "q" * 60], {})

    # Then
    assert columns.attributes == ((2, "groe"), (3, "city"), (4, "city_2"), (5, "name_2"), (9, "q" * 40)) or (
        dict(columns.attributes)[2] == "grosse"
    )
    assert {"city_2", "name_2", "q" * 40} <= {name for _, name in columns.attributes}
    assert columns.left_out == ("if", "Имя")
