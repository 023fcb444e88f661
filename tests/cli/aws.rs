//! Commands that need AWS credentials.

use super::scripted::{Response, Scripted};
use super::{Keygate, remember};
use crate::support::stack::{Api, variable};
use crate::support::workspace::{keys_url, unique};

const XML: (&str, &str) = ("content-type", "text/xml");
const BOOTSTRAP: [&str; 5] = ["bootstrap", "--workspace", "acme", "--user-id", "alice"];

#[tokio::test]
async fn a_workspace_is_bootstrapped_once_and_again_by_breaking_the_glass() {
    let (keygate, workspace) = (Keygate::in_aws(), unique("test"));
    let bootstrap = ["bootstrap", "--workspace", &workspace, "--user-id", "admin"];
    let done = keygate.run(&bootstrap).await;
    let key = done.ok();
    remember(key);
    assert!(done.stderr.contains("delete it once"), "{done:?}");
    let list = Api::default().send(reqwest::Method::GET, &keys_url(""), Some(key), None).await;
    assert_eq!((list.status, &list.json()["items"][0]["scopes"][0]), (200, &"workspace:admin".into()));

    keygate.run(&bootstrap).await.assert_failed(1, &["create-key refused", "--break-glass"]);
    let emergency = [&bootstrap[..], &["--break-glass", "--name", "emergency"]].concat();
    keygate.json(&emergency).await;
    let wrong = ["bootstrap", "--workspace", "Not Valid", "--user-id", ""];
    keygate.run(&wrong).await.assert_failed(2, &["/workspace_id: ", "/user_id: "]);
}

#[tokio::test]
async fn what_is_missing_in_aws_is_told_with_what_to_do() {
    let unset = |name: &str| Keygate::in_aws().set(name, "");
    unset("AWS_REGION").run(&BOOTSTRAP).await.assert_failed(2, &["Region is not known", "--region"]);
    let without = unset("AWS_ACCESS_KEY_ID").set("AWS_SECRET_ACCESS_KEY", "");
    without.run(&BOOTSTRAP).await.assert_failed(4, &["no AWS credentials", "aws sso login", "AWS_PROFILE"]);
    let other = [&BOOTSTRAP[..], &["--stack", "no-such-stack"]].concat();
    Keygate::in_aws().run(&other).await.assert_failed(3, &["no-such-stack", "does not exist", "--region"]);
    let nowhere = [&BOOTSTRAP[..], &["--region", "nowhere-1"]].concat();
    let in_nowhere = Keygate::in_aws().set("AWS_ENDPOINT_URL", "");
    in_nowhere.run(&nowhere).await.assert_failed(5, &["cloudformation.nowhere-1.amazonaws.com", "Region"]);
}

#[tokio::test]
async fn a_wrong_clock_is_told_with_the_message_of_aws() {
    const SKEWED: &[Response] = &[(
        403,
        XML,
        "<ErrorResponse><Error><Code>SignatureDoesNotMatch</Code><Message>Signature expired: 20261127T000000Z is now \
         earlier than 20261127T010000Z</Message></Error></ErrorResponse>",
    )];
    let server = Scripted::start(SKEWED).await;
    let keygate = Keygate::in_aws().set("AWS_ENDPOINT_URL", &server.url);
    keygate
        .run(&BOOTSTRAP)
        .await
        .assert_failed(4, &["Signature expired: 20261127T000000Z", "the clock of this machine"]);
}

#[tokio::test]
async fn a_throttled_call_of_aws_is_repeated() {
    const ONCE: &[Response] = &[
        (
            400,
            XML,
            "<ErrorResponse><Error><Code>Throttling</Code><Message>Rate exceeded</Message></Error></ErrorResponse>",
        ),
        (
            200,
            XML,
            "<DescribeStacksResponse><DescribeStacksResult><Stacks><member><StackId>arn:stack</StackId></member></Stacks></DescribeStacksResult>\
             </DescribeStacksResponse>",
        ),
    ];
    let server = Scripted::start(ONCE).await;
    let done = Keygate::in_aws().set("AWS_ENDPOINT_URL", &server.url).run(&BOOTSTRAP).await;
    done.assert_failed(3, &["Rate exceeded: attempt 2 of 5", "no output CreateKeyFunctionName"]);
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn the_url_of_a_named_stack_is_read_from_its_outputs() {
    let keygate = Keygate::in_aws().set("KEYGATE_KEY", &variable("KEYGATE_ADMIN_KEY"));
    // The emulator does not serve the host name that the output has, as AWS does.
    keygate.run(&["whoami"]).await.assert_failed(5, &["execute-api", "cannot be reached"]);
}
