//! Operations that IAM has for users, roles and groups, alike but for a field's name.

/// Makes them for one kind: policies of one's own, and attached policies.
macro_rules! twins {
    (
        $kind:expr, $name:ident;
        $put:ident, $get:ident => $got:ident, $delete:ident,
        $list:ident => $listed:ident,
        $attach:ident, $detach:ident,
        $attached:ident => $attached_listed:ident
    ) => {
        pub(super) async fn put_policy(api: &Api, request: $put) -> Result<Nothing, ApiError> {
            super::check::policy_name(&request.policy_name)?;
            let policy = super::check::document(
                &request.policy_document,
                $crate::iam::PolicyKind::Identity,
                super::check::INLINE_CHARS_MAX,
            )?;
            let grant = Grant::PutPolicy(request.policy_name, policy);
            identities::change(api, $kind, &request.$name, grant).await?;
            Ok(Nothing {})
        }

        pub(super) async fn get_policy(api: &Api, request: $get) -> Result<$got, ApiError> {
            let of = identities::find(api, $kind, &request.$name)?;
            Ok($got {
                $name: of.name.clone(),
                policy_document: identities::inline(&of, &request.policy_name)?,
                policy_name: request.policy_name,
            })
        }

        pub(super) async fn delete_policy(
            api: &Api,
            request: $delete,
        ) -> Result<Nothing, ApiError> {
            let grant = Grant::DeletePolicy(request.policy_name);
            identities::change(api, $kind, &request.$name, grant).await?;
            Ok(Nothing {})
        }

        pub(super) async fn list_policies(api: &Api, request: $list) -> Result<$listed, ApiError> {
            let of = identities::find(api, $kind, &request.$name)?;
            let marker = request.marker.as_deref();
            let page = identities::inline_names(&of, marker, request.max_items)?;
            Ok($listed {
                policy_names: page.items,
                is_truncated: page.marker.is_some(),
                marker: page.marker,
            })
        }

        pub(super) async fn attach(api: &Api, request: $attach) -> Result<Nothing, ApiError> {
            let grant = Grant::Attach(request.policy_arn);
            identities::change(api, $kind, &request.$name, grant).await?;
            Ok(Nothing {})
        }

        pub(super) async fn detach(api: &Api, request: $detach) -> Result<Nothing, ApiError> {
            let grant = Grant::Detach(request.policy_arn);
            identities::change(api, $kind, &request.$name, grant).await?;
            Ok(Nothing {})
        }

        pub(super) async fn list_attached(
            api: &Api,
            request: $attached,
        ) -> Result<$attached_listed, ApiError> {
            let of = identities::find(api, $kind, &request.$name)?;
            let (path, marker) = (request.path_prefix.as_deref(), request.marker.as_deref());
            let page = identities::attached(&of, path, marker, request.max_items)?;
            Ok($attached_listed {
                attached_policies: page.items,
                is_truncated: page.marker.is_some(),
                marker: page.marker,
            })
        }
    };
}

/// Makes the operations on tags for one kind.
macro_rules! tagged {
    (
        $kind:expr, $name:ident;
        $tag:ident, $untag:ident, $tags:ident => $tags_listed:ident
    ) => {
        pub(super) async fn tag(api: &Api, request: $tag) -> Result<Nothing, ApiError> {
            let grant = Grant::Tag(super::check::tags(Some(request.tags))?);
            identities::change(api, $kind, &request.$name, grant).await?;
            Ok(Nothing {})
        }

        pub(super) async fn untag(api: &Api, request: $untag) -> Result<Nothing, ApiError> {
            identities::change(api, $kind, &request.$name, Grant::Untag(request.tag_keys)).await?;
            Ok(Nothing {})
        }

        pub(super) async fn list_tags(api: &Api, request: $tags) -> Result<$tags_listed, ApiError> {
            let of = identities::find(api, $kind, &request.$name)?;
            let tags = super::values::show_tags(&of.tags).unwrap_or_default().into_iter();
            let marker = request.marker.as_deref();
            let page = super::check::page(tags, |tag| tag.key.clone(), marker, request.max_items)?;
            Ok($tags_listed {
                tags: page.items,
                is_truncated: page.marker.is_some(),
                marker: page.marker,
            })
        }
    };
}

pub(super) use {tagged, twins};
