package scim

// MaxResults is how many resources one answer lists.
const MaxResults = 200

// List is a ListResponse (RFC 7644 section 3.4.2).
func List(found []map[string]any, total, start int) map[string]any {
	return map[string]any{"schemas": []string{ListURN}, "totalResults": total, "startIndex": start,
		"itemsPerPage": len(found), "Resources": found}
}

// ServiceProviderConfig says what is understood (RFC 7643 section 5). base is
// the URL of the service provider.
func ServiceProviderConfig(base string) map[string]any {
	is := func(yes bool) map[string]any { return map[string]any{"supported": yes} }
	return map[string]any{
		"schemas":               []string{"urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig"},
		"patch":                 is(true),
		"bulk":                  map[string]any{"supported": false, "maxOperations": 0, "maxPayloadSize": 0},
		"filter":                map[string]any{"supported": true, "maxResults": MaxResults},
		"changePassword":        is(false),
		"sort":                  is(false),
		"etag":                  is(true),
		"authenticationSchemes": []map[string]any{{"type": "oauthbearertoken", "name": "OAuth Bearer Token", "description": "A bearer token that the configuration names", "specUri": "https://www.rfc-editor.org/info/rfc6750"}},
		"meta":                  map[string]any{"resourceType": "ServiceProviderConfig", "location": base + "/ServiceProviderConfig"},
	}
}

// ResourceTypes are those that there are (RFC 7643 section 6).
func ResourceTypes(base string) []map[string]any {
	one := func(name, plural, urn, description string) map[string]any {
		return map[string]any{"schemas": []string{"urn:ietf:params:scim:schemas:core:2.0:ResourceType"}, "id": name, "name": name,
			"endpoint": "/" + plural, "description": description, "schema": urn,
			"meta": map[string]any{"resourceType": "ResourceType", "location": base + "/ResourceTypes/" + name}}
	}
	return []map[string]any{one("User", "Users", UserURN, "A person"), one("Group", "Groups", GroupURN, "Several people")}
}

// Schemas are the attributes that are kept (RFC 7643 section 7).
func Schemas(base string) []map[string]any {
	one := func(urn, name string, attributes ...map[string]any) map[string]any {
		return map[string]any{"schemas": []string{"urn:ietf:params:scim:schemas:core:2.0:Schema"}, "id": urn, "name": name, "attributes": attributes,
			"meta": map[string]any{"resourceType": "Schema", "location": base + "/Schemas/" + urn}}
	}
	text := func(name string) map[string]any { return attribute(name, "string") }
	userName := with(with(text("userName"), "required", true), "uniqueness", "server")
	externalID := with(text("externalId"), "caseExact", true)
	return []map[string]any{
		one(UserURN, "User", userName, externalID, text("displayName"), attribute("active", "boolean"),
			with(attribute("name", "complex"), "subAttributes", []map[string]any{text("formatted"), text("familyName"), text("givenName")}),
			with(with(attribute("emails", "complex"), "multiValued", true), "subAttributes",
				[]map[string]any{text("value"), text("type"), attribute("primary", "boolean")}),
			with(with(with(attribute("groups", "complex"), "multiValued", true), "mutability", "readOnly"), "subAttributes",
				[]map[string]any{with(text("value"), "mutability", "readOnly"), with(text("display"), "mutability", "readOnly")})),
		one(GroupURN, "Group", with(with(text("displayName"), "required", true), "uniqueness", "server"), externalID,
			with(with(attribute("members", "complex"), "multiValued", true), "subAttributes",
				[]map[string]any{with(text("value"), "mutability", "immutable"), with(text("type"), "mutability", "readOnly"), with(attribute("$ref", "reference"), "mutability", "readOnly")})),
	}
}

func attribute(name, kind string) map[string]any {
	return map[string]any{"name": name, "type": kind, "multiValued": false, "required": false, "caseExact": false,
		"mutability": "readWrite", "returned": "default", "uniqueness": "none"}
}

func with(a map[string]any, name string, v any) map[string]any {
	a[name] = v
	return a
}
