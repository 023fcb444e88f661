#!/usr/bin/env bash
# publish.sh BUCKET
#
# Uploads the functions and the template of this package to a bucket of yours, and prints the parameters of a deployment and a
# link that opens CloudFormation with them. It needs version 2 of the AWS CLI, credentials and a Region. The bucket must be in
# that Region. Files that are there already are replaced by the same bytes.
set -euo pipefail

bucket=${1:?publish.sh BUCKET}
cd "$(dirname "$0")"
sha256sum --check --quiet SHA256SUMS
# A bucket of somebody else would be trusted with the code of the functions.
aws s3api head-bucket --bucket "$bucket" \
    --expected-bucket-owner "$(aws sts get-caller-identity --query Account --output text)" >/dev/null
region=${AWS_REGION:-${AWS_DEFAULT_REGION:-$(aws configure get region)}}
member() { # of the manifest
    sed -n "s/^ \"$1\": \"\(.*\)\",\$/\1/p" manifest.json
}
prefix=$(member prefix)
name=template-$(member version)-$(member architecture).yaml

aws s3 cp --only-show-errors --recursive functions "s3://$bucket/${prefix}functions"
aws s3 cp --only-show-errors template.yaml "s3://$bucket/$prefix$name"

case $region in
cn-*) suffix=amazonaws.com.cn console=console.amazonaws.cn ;;
us-gov-*) suffix=amazonaws.com console=console.amazonaws-us-gov.com ;;
*) suffix=amazonaws.com console=console.aws.amazon.com ;;
esac
template="https://$bucket.s3.$region.$suffix/$prefix$name"
# A link has : and / as %3A and %2F.
encoded=${template//:/%3A}
encoded=${encoded//\//%2F}
cat <<END
template  $template
bucket    CodeBucket=$bucket
launch    https://$console/cloudformation/home?region=$region#/stacks/quickcreate?templateURL=$encoded&stackName=keygate&param_CodeBucket=$bucket
END
